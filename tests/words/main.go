// Command words looks for words that the project does not use (words.txt, beside it) in the
// project's own Go, YAML, Markdown and text files, and prints each with its place and the
// word to use. It exits with 1 when it found one.
//
// Usage: words [DIR]
package main

import (
	"bufio"
	"bytes"
	_ "embed"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

//go:embed words.txt
var list string

// Not searched: the two lists of the words themselves, and what others have written.
var excluded = []string{"tests/words/", "docs/explanation/glossary.md", "CODE_OF_CONDUCT.md"}

func main() {
	dir := "."
	if len(os.Args) > 1 {
		dir = os.Args[1]
	}
	found, err := search(dir, os.Stdout)
	if err != nil {
		fmt.Fprintln(os.Stderr, "cannot search for words:", err)
		os.Exit(2)
	}
	if found > 0 {
		fmt.Printf("%d words to replace; docs/explanation/glossary.md has the terms\n", found)
		os.Exit(1)
	}
}

// word is one entry of the list.
type word struct {
	pattern *regexp.Regexp
	use     string
}

// parse returns the words of a list and what is allowed although a word is in it.
func parse(list string) (words []word, allowed []*regexp.Regexp, err error) {
	for n, line := range strings.Split(list, "\n") {
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		text, exception := strings.CutPrefix(line, "=")
		text, use, ok := strings.Cut(text, "\t")
		if ok == exception {
			return nil, nil, fmt.Errorf("line %d is %q: expected a pattern, a tab and a replacement, or = and a pattern", n+1, line)
		}
		pattern, err := regexp.Compile(`(?i)\b(` + text + `)\b`)
		if err != nil {
			return nil, nil, fmt.Errorf("line %d: %w", n+1, err)
		}
		if exception {
			allowed = append(allowed, pattern)
		} else {
			words = append(words, word{pattern, use})
		}
	}
	return words, allowed, nil
}

// search prints the words in the files that git knows in a folder, and returns how many.
func search(dir string, w io.Writer) (found int, err error) {
	words, allowed, err := parse(list)
	if err != nil {
		return 0, err
	}
	files, err := tracked(dir)
	if err != nil {
		return 0, err
	}
	for _, name := range files {
		content, err := os.ReadFile(filepath.Join(dir, name))
		if os.IsNotExist(err) {
			continue // deleted, and not committed yet
		}
		if err != nil {
			return found, err
		}
		lines := bufio.NewScanner(bytes.NewReader(content))
		lines.Buffer(nil, len(content)+1)
		for n := 1; lines.Scan(); n++ {
			for _, f := range check(lines.Text(), words, allowed) {
				found++
				fmt.Fprintf(w, "%s:%d: %q: write %s\n", name, n, f.text, f.use)
			}
		}
		if err := lines.Err(); err != nil {
			return found, fmt.Errorf("%s: %w", name, err)
		}
	}
	return found, nil
}

// tracked returns the files to search, sorted.
func tracked(dir string) ([]string, error) {
	git := exec.Command("git", "-C", dir, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
	git.Stderr = os.Stderr
	out, err := git.Output()
	if err != nil {
		return nil, fmt.Errorf("git ls-files in %s: %w", dir, err)
	}
	var files []string
	for name := range strings.SplitSeq(string(out), "\x00") {
		kind := filepath.Ext(name)
		if kind == "" && filepath.Base(name) == "Makefile" {
			kind = ".mk"
		}
		searched := slices.Contains([]string{".go", ".md", ".yaml", ".yml", ".txt", ".txtar", ".mk", ".sh"}, kind)
		if searched && !slices.ContainsFunc(excluded, func(e string) bool { return strings.HasPrefix(name, e) }) {
			files = append(files, name)
		}
	}
	slices.Sort(files)
	return files, nil
}

// finding is a word in a line.
type finding struct{ text, use string }

// humps is where a part of an identifier ends and the next begins.
var humps = regexp.MustCompile(`([a-z0-9])([A-Z])|_`)

// check returns the words in a line.
func check(line string, words []word, allowed []*regexp.Regexp) []finding {
	line = humps.ReplaceAllString(line, "$1 $2")
	for _, a := range allowed {
		line = a.ReplaceAllString(line, "")
	}
	var found []finding
	for _, w := range words {
		for _, text := range w.pattern.FindAllString(line, -1) {
			found = append(found, finding{text, w.use})
		}
	}
	return found
}
