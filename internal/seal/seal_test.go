package seal_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/dcib/dcib/internal/seal"
)

func TestOnlyTheReceiverOpens(t *testing.T) {
	receiver, err := seal.NewKey()
	require.NoError(t, err)
	other, err := seal.NewKey()
	require.NoError(t, err)

	sealed, err := seal.Seal(receiver.Public(), "join node1", []byte("token"))
	require.NoError(t, err)
	require.NotContains(t, sealed, "token")

	raw, err := receiver.Bytes()
	require.NoError(t, err)
	again, err := seal.ParseKey(raw)
	require.NoError(t, err)
	text, err := again.Open("join node1", sealed)
	require.NoError(t, err)
	require.Equal(t, "token", string(text))

	_, err = other.Open("join node1", sealed)
	require.Error(t, err)
	_, err = receiver.Open("join node2", sealed)
	require.Error(t, err, "a text sealed for one purpose serves no other")
	_, err = receiver.Open("join node1", sealed[:len(sealed)-8])
	require.Error(t, err)
}

func TestBadKeysAreRefused(t *testing.T) {
	for _, public := range []string{"", "?", "AAAA"} {
		_, err := seal.Seal(public, "p", []byte("t"))
		require.Error(t, err, "public key %q", public)
	}
}
