// Package relation has what all relations have in common.
package relation

// Contains reports whether a databag has all of these values. A value that is empty may be missing. Other
// keys, such as the addresses that Juju writes into each unit's databag, do not matter.
func Contains(bag, values map[string]string) bool {
	for key, value := range values {
		if bag[key] != value {
			return false
		}
	}
	return true
}
