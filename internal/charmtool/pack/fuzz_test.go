package pack_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/dcib/dcib/internal/charmtool/pack"
)

// Whatever an operator wrote into charmcraft.yaml, it is read or refused.
func FuzzParseSource(f *testing.F) {
	good, err := os.ReadFile(filepath.Join(fixture, pack.SourceFile))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte("type: charm\nname: bare\nplatforms: {'ubuntu@24.04:amd64': }\nconfig: {options: {}}\n"))
	f.Add([]byte("type: charm\nname: &a x\nlinks: {contact: [*a]}\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := pack.ParseSource(data)
		if err != nil {
			return
		}
		docs, err := s.Documents("amd64")
		if err == nil && len(docs) < 2 {
			t.Errorf("expected metadata and manifest at least, got %d documents", len(docs))
		}
	})
}
