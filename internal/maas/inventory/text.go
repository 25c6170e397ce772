package inventory

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// width is how many characters wide a terminal is at least.
const width = 80

// Shown is a machine as it is shown to people and programs.
type Shown struct {
	Name         string   `json:"name"`
	ID           string   `json:"id"`
	Status       string   `json:"status"`
	Pool         string   `json:"pool"`
	Zone         string   `json:"zone"`
	Architecture string   `json:"architecture"`
	CPUs         int      `json:"cpus"`
	MemoryMiB    int64    `json:"memory-mib"`
	StorageGB    float64  `json:"storage-gb"`
	Storage      string   `json:"storage-layout"` // as Layout recognises it
	Series       string   `json:"series"`
	Owner        string   `json:"owner"`
	Addresses    []string `json:"addresses"`
	Bridges      []string `json:"bridges"`
	Tags         []string `json:"tags"`
}

// Show makes machines fit to be shown. Lists are never null.
func Show(machines []Machine) []Shown {
	all := []Shown{}
	for _, m := range machines {
		bridges := []string{}
		for _, i := range m.Interfaces {
			if i.Type == "bridge" {
				bridges = append(bridges, i.Name)
			}
		}
		tags := append([]string{}, m.Tags...)
		slices.Sort(tags)
		all = append(all, Shown{
			m.Hostname, m.ID, m.Status, m.Pool, m.Zone, m.Architecture, m.CPUs, m.MemoryMiB, m.StorageMB / 1000, Layout(m), m.Series, m.Owner,
			append([]string{}, m.Addresses...), bridges, tags,
		})
	}
	return all
}

// Table is machines as rows of at most 80 characters, if their names allow it.
func Table(machines []Machine) string {
	rows := [][]string{{"NAME", "STATUS", "CPU", "MEMORY", "DISK", "STORAGE", "BRIDGES", "TAGS"}}
	for _, s := range Show(machines) {
		rows = append(rows, []string{
			s.Name, s.Status, fmt.Sprint(s.CPUs), fmt.Sprintf("%d GiB", s.MemoryMiB/1024), fmt.Sprintf("%.0f GB", s.StorageGB), s.Storage,
			strings.Join(s.Bridges, " "), strings.Join(s.Tags, " "),
		})
	}
	return Columns(rows)
}

// Columns lines rows up. The last column is wrapped, between words, at 80 characters.
func Columns(rows [][]string) string {
	var wide []int
	for _, row := range rows {
		for i, cell := range row[:len(row)-1] {
			if i == len(wide) {
				wide = append(wide, 0)
			}
			wide[i] = max(wide[i], utf8.RuneCountInString(cell))
		}
	}
	var out strings.Builder
	for _, row := range rows {
		var line strings.Builder
		for i, cell := range row[:len(row)-1] {
			line.WriteString(cell + strings.Repeat(" ", wide[i]-utf8.RuneCountInString(cell)+2))
		}
		indent := utf8.RuneCountInString(line.String())
		out.WriteString(strings.TrimRight(line.String()+wrap(row[len(row)-1], indent, indent), " ") + "\n")
	}
	return out.String()
}

// wrap breaks a text between words at 80 characters. It begins in column at, and its further
// lines in column indent.
func wrap(text string, at, indent int) string {
	var out strings.Builder
	for i, word := range strings.Fields(text) {
		n := utf8.RuneCountInString(word)
		switch {
		case i == 0:
		case at+1+n > width && indent+n < width:
			out.WriteString("\n" + strings.Repeat(" ", indent))
			at = indent
		default:
			out.WriteString(" ")
			at++
		}
		out.WriteString(word)
		at += n
	}
	return out.String()
}

// Item is a line of a list, its further lines indented.
func Item(mark, text string) string {
	n := utf8.RuneCountInString(mark) + 1
	return strings.TrimRight(mark+" "+wrap(text, n, n+2), " ") + "\n"
}

// Text is a plan for people: what there is to do, and what is left and why.
func (p Plan) Text() string {
	var out strings.Builder
	for _, s := range p.Steps {
		out.WriteString(Item("to do ", Title(s)))
	}
	for _, n := range p.Notes {
		out.WriteString(Item(n.mark(), n.String()))
	}
	if len(p.Steps) == 0 && len(p.Notes) == 0 {
		out.WriteString("everything is as declared\n")
	}
	return out.String()
}

func (n Note) mark() string {
	if n.Wrong {
		return "wrong "
	}
	return "note  "
}

// Doable is a step as programs read it.
type Doable struct {
	Machine string `json:"machine"`
	Step    string `json:"step"`
}

// Steps are a plan's, as programs read them.
func Steps(steps []Step) []Doable {
	all := []Doable{}
	for _, s := range steps {
		all = append(all, Doable{s.On(), s.Name()})
	}
	return all
}
