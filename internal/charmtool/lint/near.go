package lint

import "slices"

// nearest returns the word of those that is most like got, as a slip of the pen would have
// it; empty where none is near.
func nearest(got string, words []string) string {
	best, within := "", max(1, min(3, len(got)/3))
	for _, w := range slices.Sorted(slices.Values(words)) {
		if d := distance(got, w); w != got && d <= within {
			best, within = w, d-1
		}
	}
	return best
}

// distance counts the letters to insert, to delete, to replace or to swap with their
// neighbour (optimal string alignment) that make b of a.
func distance(a, b string) int {
	d := make([][]int, len(a)+1)
	for i := range d {
		d[i] = make([]int, len(b)+1)
		d[i][0] = i
	}
	for j := range len(b) + 1 {
		d[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			change := 1
			if a[i-1] == b[j-1] {
				change = 0
			}
			d[i][j] = min(d[i-1][j]+1, d[i][j-1]+1, d[i-1][j-1]+change)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				d[i][j] = min(d[i][j], d[i-2][j-2]+1)
			}
		}
	}
	return d[len(a)][len(b)]
}
