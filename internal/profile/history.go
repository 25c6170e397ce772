package profile

import (
	"encoding/json"
	"fmt"
)

// History has the last profiles that were fully applied, the newest first: the current one, and the one
// before.
type History []Profile

// depth is how many are kept.
const depth = 2

// ParseHistory reads what String returned; an invalid text is an empty history.
func ParseHistory(text string) History {
	var h History
	_ = json.Unmarshal([]byte(text), &h)
	return h
}

// With adds a profile at the front. The oldest are dropped if the text would be longer than MaxBytes.
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

// Before returns the newest profile that is not the current one.
func (h History) Before(now Profile) (Profile, bool) {
	for _, p := range h {
		if !p.Equal(now) {
			return p, true
		}
	}
	return Profile{}, false
}

// String returns JSON; "" for an empty history.
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
