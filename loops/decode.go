package loops

// Decode reads JSON into the struct that into points to, strictly, and reports
// every problem at once as joined [FieldError]s.
func Decode(data []byte, into any) error { panic("written next") }

// DecodeSpec reads a spec from JSON. It does not check how the fields fit
// together: see [Spec.Validate].
func DecodeSpec(data []byte) (Spec, error) { panic("written next") }

// Validate reports what is wrong with the spec, every problem at once.
func (s Spec) Validate() error { panic("written next") }
