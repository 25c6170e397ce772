package profile

// Rows lists the names of the table of keys, for tests.
func Rows() []string {
	names := make([]string, len(keys))
	for i, row := range keys {
		names[i] = row.name
	}
	return names
}
