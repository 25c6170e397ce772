package calendar

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Problem is one thing that is wrong with a text.
type Problem struct {
	Line int    // in the text, from 1
	Path string // where: "pets.gpu-1.windows[0]"; may be empty
	Says string // what is wrong: `is "Fri 25:00–Sat 05:00"`
	Want string // what would be right; may be empty
}

func (p Problem) String() string {
	s := fmt.Sprintf("line %d: %s", p.Line, strings.TrimSpace(p.Path+" "+p.Says))
	if p.Want != "" {
		s += ", wanted " + p.Want
	}
	return s
}

// Problems is everything that is wrong with a text, as an error, in the order of lines.
type Problems []Problem

// maxShown is how many problems an error's text lists.
const maxShown = 20

func (ps Problems) Error() string {
	var lines []string
	for i, p := range ps {
		if i == maxShown {
			lines = append(lines, fmt.Sprintf("and %d more", len(ps)-maxShown))
			break
		}
		lines = append(lines, p.String())
	}
	return strings.Join(lines, "; ")
}

// err gives the problems as an error, nil when there are none.
func (ps Problems) err() error {
	if len(ps) == 0 {
		return nil
	}
	slices.SortStableFunc(ps, func(a, b Problem) int { return cmp.Compare(a.Line, b.Line) })
	return ps
}

// quote shows a value, not more of it than a status line bears.
func quote(v string) string {
	const short = 60
	if r := []rune(v); len(r) > short {
		v = string(r[:short]) + "…"
	}
	return strconv.Quote(v)
}
