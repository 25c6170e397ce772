package lint

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"pgregory.net/rapid"
)

func TestNearest(t *testing.T) {
	words := []string{"ceph-mon", "ceph-osd", "ceph-fs", "etcd", "k8s", "k8s-worker"}
	for got, want := range map[string]string{
		"ceph-mom": "ceph-mon", "cehp-osd": "ceph-osd", "ecd": "etcd", "k8": "k8s",
		"k8s-wroker": "k8s-worker", "mysql": "", "": "", "ceph-mon": "",
	} {
		assert.Equal(t, want, nearest(got, words), got)
	}
}

// The distance is one: to itself none, the same both ways, never more than the longer word.
func TestDistanceIsADistance(t *testing.T) {
	word := rapid.StringMatching(`[a-c]{0,6}`)
	rapid.Check(t, func(t *rapid.T) {
		a, b := word.Draw(t, "a"), word.Draw(t, "b")
		d := distance(a, b)
		assert.Equal(t, d, distance(b, a))
		assert.Equal(t, a == b, d == 0)
		assert.LessOrEqual(t, d, max(len(a), len(b)))
		assert.GreaterOrEqual(t, d, max(len(a)-len(b), len(b)-len(a)))
	})
}
