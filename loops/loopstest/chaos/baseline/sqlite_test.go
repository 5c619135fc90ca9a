package baseline

import (
	"database/sql"
	"path/filepath"
	"testing"

	_ "modernc.org/sqlite"
)

func openSQLite(b *testing.B) writer {
	db, err := sql.Open("sqlite", "file:"+filepath.Join(b.TempDir(), "log.db")+"?_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { db.Close() })
	db.SetMaxOpenConns(1) // there is one writer anyway
	if _, err := db.Exec("CREATE TABLE iterations (loop INTEGER, iteration INTEGER, record BLOB)"); err != nil {
		b.Fatal(err)
	}
	insert, err := db.Prepare("INSERT INTO iterations VALUES (?, ?, ?)")
	if err != nil {
		b.Fatal(err)
	}
	return func(loop, iteration int, record []byte) error {
		_, err := insert.Exec(loop, iteration, record)
		return err
	}
}
