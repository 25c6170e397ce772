package lint

import (
	"io"
	"os"
)

// StdinName is the name that stands for the standard input among a command's files.
const StdinName = "-"

// Files are the bundles and overlays that are checked. Each is read once, since one can be a
// pipe. The zero value reads files, and has an empty standard input.
type Files struct {
	// Stdin is what a file with StdinName has in it.
	Stdin io.Reader
	texts map[string][]byte
}

func (fs *Files) read(path string) ([]byte, error) {
	if text, ok := fs.texts[path]; ok {
		return text, nil
	}
	var (
		text []byte
		err  error
	)
	switch {
	case path != StdinName:
		text, err = os.ReadFile(path)
	case fs.Stdin != nil:
		text, err = io.ReadAll(fs.Stdin)
	}
	if err != nil {
		return nil, err
	}
	if fs.texts == nil {
		fs.texts = map[string][]byte{}
	}
	fs.texts[path] = text
	return text, nil
}
