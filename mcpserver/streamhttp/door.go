package streamhttp

import (
	"crypto/sha256"
	"crypto/subtle"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"github.com/mark3labs/mcp-go/server"
)

// door decides which requests come in.
type door struct {
	path    string
	origins []string
	hosts   []string
	tokens  []token
}

type token struct {
	owner string
	sum   [sha256.Size]byte
}

func newDoor(o Options) door {
	d := door{path: o.Path}
	for _, host := range o.AllowedHosts {
		d.hosts = append(d.hosts, strings.ToLower(host))
	}
	for _, origin := range o.AllowedOrigins {
		origin = strings.ToLower(strings.TrimSuffix(origin, "/"))
		d.origins = append(d.origins, origin)
		if u, err := url.Parse(origin); err == nil && u.Hostname() != "" {
			d.hosts = append(d.hosts, u.Hostname())
		}
	}
	for owner, secret := range o.Tokens {
		d.tokens = append(d.tokens, token{owner, sha256.Sum256([]byte(secret))})
	}
	return d
}

// admit returns the owner of the request's token, or refuses the request.
func (d *door) admit(w http.ResponseWriter, r *http.Request) (owner string, ok bool) {
	local := onLoopback(r)
	if !d.knowsHost(r, local) {
		refuse(w, http.StatusForbidden, "this server is not addressed by the name in Host; use the address that it listens on, or add the name to the allowed origins")
		return "", false
	}
	if !d.mayCall(w, r) {
		refuse(w, http.StatusForbidden, "pages of this Origin may not call; add it to the allowed origins")
		return "", false
	}
	if r.Method == http.MethodOptions && r.Header.Get("Access-Control-Request-Method") != "" {
		w.WriteHeader(http.StatusNoContent)
		return "", false
	}
	if len(d.tokens) == 0 {
		local = local && !isForwarded(r.Header)
		if !local {
			refuse(w, http.StatusForbidden, "without a token, only programs of this machine are served")
		}
		return "", local
	}
	if d.isMetadata(r) {
		d.metadata(w, r)
		return "", false
	}
	owner, ok = d.owner(r.Header.Values("Authorization"))
	if !ok {
		d.challenge(w, r)
	}
	return owner, ok
}

// onLoopback reports whether the request came over a loopback connection, or a socket of this machine.
func onLoopback(r *http.Request) bool {
	switch addr := r.Context().Value(http.LocalAddrContextKey).(type) {
	case *net.UnixAddr:
		return true
	case *net.TCPAddr:
		return addr.IP.IsLoopback()
	}
	return false
}

// isForwarded reports whether a proxy says that the request came from another machine. One that says
// nothing can't be told from a program of this one.
func isForwarded(header http.Header) bool {
	if header.Get("Forwarded") != "" {
		return true
	}
	for _, list := range header.Values("X-Forwarded-For") {
		for name := range strings.SplitSeq(list, ",") {
			if !isLoopbackName(hostname(strings.TrimSpace(name))) {
				return true
			}
		}
	}
	return false
}

// knowsHost keeps pages out whose name was made to point here (DNS rebinding). Connections from
// elsewhere need a token, which such a page does not have.
func (d *door) knowsHost(r *http.Request, local bool) bool {
	name := hostname(r.Host)
	return !local || isLoopbackName(name) || slices.Contains(d.hosts, name)
}

func hostname(host string) string {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	return strings.ToLower(strings.Trim(host, "[]"))
}

func isLoopbackName(name string) bool {
	if name == "localhost" {
		return true
	}
	addr, err := netip.ParseAddr(name)
	return err == nil && addr.IsLoopback()
}

// mayCall checks the Origin: pages of the server itself and the allowed ones. It lets the latter read
// the answer.
func (d *door) mayCall(w http.ResponseWriter, r *http.Request) bool {
	origins := r.Header.Values("Origin")
	if len(origins) == 0 {
		return true
	}
	origin := strings.ToLower(origins[0])
	if len(origins) > 1 || !slices.Contains(d.origins, origin) {
		u, err := url.Parse(origin)
		return len(origins) == 1 && err == nil && u.Host != "" && u.Host == strings.ToLower(r.Host)
	}
	header := w.Header()
	header.Set("Access-Control-Allow-Origin", origins[0])
	header.Add("Vary", "Origin")
	header.Set("Access-Control-Expose-Headers", headerSession+", WWW-Authenticate")
	header.Set("Access-Control-Allow-Methods", "GET, POST, DELETE")
	header.Set("Access-Control-Allow-Headers", "*, Authorization")
	header.Set("Access-Control-Max-Age", "600")
	if r.Header.Get("Access-Control-Request-Private-Network") != "" {
		header.Set("Access-Control-Allow-Private-Network", "true")
	}
	return true
}

// owner returns whose token the request has. It takes the same time for every wrong one.
func (d *door) owner(authorization []string) (string, bool) {
	if len(authorization) != 1 {
		return "", false
	}
	scheme, secret, _ := strings.Cut(authorization[0], " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return "", false
	}
	sum := sha256.Sum256([]byte(strings.TrimSpace(secret)))
	found := -1
	for i := range d.tokens {
		found = subtle.ConstantTimeSelect(subtle.ConstantTimeCompare(sum[:], d.tokens[i].sum[:]), i, found)
	}
	if found < 0 {
		return "", false
	}
	return d.tokens[found].owner, true
}

// challenge asks for a token.
func (d *door) challenge(w http.ResponseWriter, r *http.Request) {
	challenge := `Bearer resource_metadata="` + base(r) + server.WellKnownProtectedResourcePath + d.path + `"`
	text := "a bearer token is needed: send the header Authorization: Bearer TOKEN"
	if r.Header.Get("Authorization") != "" {
		challenge += `, error="invalid_token"`
		text = "this is no token of this server: send the header Authorization: Bearer TOKEN with one that is"
	}
	w.Header().Set("WWW-Authenticate", challenge)
	refuse(w, http.StatusUnauthorized, text)
}

// isMetadata reports whether the request asks what protects this server (RFC 9728).
func (d *door) isMetadata(r *http.Request) bool {
	path := strings.TrimSuffix(r.URL.Path, "/")
	return path == server.WellKnownProtectedResourcePath || path == server.WellKnownProtectedResourcePath+d.path
}

func (d *door) metadata(w http.ResponseWriter, r *http.Request) {
	server.NewProtectedResourceMetadataHandler(server.ProtectedResourceMetadataConfig{
		Resource:               base(r) + d.path,
		BearerMethodsSupported: []string{"header"},
		ResourceName:           "loop-mcp",
	}).ServeHTTP(w, r)
}

// base is the address under which the client reached this server, through whatever proxy.
func base(r *http.Request) string {
	u := url.URL{Scheme: "http", Host: r.Host}
	if r.TLS != nil || r.Header.Get("X-Forwarded-Proto") == "https" {
		u.Scheme = "https"
	}
	return u.String()
}
