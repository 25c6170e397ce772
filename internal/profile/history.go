package profile

import (
	"encoding/json"
	"fmt"
)

// History is the last profiles that were fully applied, the newest first: the one that is
// in force, and the one before.
type History []Profile

// depth is how many are kept.
const depth = 2

// ParseHistory reads what String gave; what cannot be read is none.
func ParseHistory(text string) History {
	var h History
	_ = json.Unmarshal([]byte(text), &h)
	return h
}

// With puts a profile first. What would make the text longer than MaxBytes is left out,
// the oldest first.
func (h History) With(p Profile) History {
	if len(h) > 0 && h[0].Equal(p) {
		return h
	}
	known := append(History{p}, h...)
	for n := min(len(known), depth); n > 0; n-- {
		if len(known[:n].String()) <= MaxBytes {
			return known[:n]
		}
	}
	return nil
}

// Before returns the newest that is not the one that is asked for now.
func (h History) Before(now Profile) (Profile, bool) {
	for _, p := range h {
		if !p.Equal(now) {
			return p, true
		}
	}
	return Profile{}, false
}

// String is JSON; "" for none.
func (h History) String() string {
	if len(h) == 0 {
		return ""
	}
	text, err := json.Marshal(h)
	if err != nil {
		panic(fmt.Sprintf("cannot write profiles: %v", err)) // of maps of strings
	}
	return string(text)
}
