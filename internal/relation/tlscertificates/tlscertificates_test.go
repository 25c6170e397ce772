package tlscertificates

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestEncode(t *testing.T) {
	bag := Encode("CSR\n")
	require.JSONEq(t, `[{"certificate_signing_request":"CSR","ca":false}]`, bag["certificate_signing_requests"])
	require.True(t, Asked(bag, "CSR"))
	require.False(t, Asked(bag, "other"))
	require.False(t, Asked(bag, ""))
	require.True(t, Asked(nil, ""))
	require.Equal(t, map[string]string{"certificate_signing_requests": ""}, Encode(""))
}

func TestDecode(t *testing.T) {
	bag := map[string]string{"certificates": `[{"certificate_signing_request":"a","certificate":"A","ca":"C","chain":["A","C"],"recommended_expiry_notification_time":7},
		{"certificate_signing_request":"b\n","certificate":"B","ca":"C","chain":null,"revoked":true}]`}
	issued, ok, err := Decode(bag, "a")
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, Issued{CSR: "a", Certificate: "A", CA: "C", Chain: []string{"A", "C"}}, issued)
	issued, ok, err = Decode(bag, "b")
	require.NoError(t, err)
	require.True(t, ok && issued.Revoked)
	for _, bag := range []map[string]string{bag, nil} {
		_, ok, err = Decode(bag, "c")
		require.NoError(t, err)
		require.False(t, ok)
	}
	_, _, err = Decode(map[string]string{"certificates": "{"}, "c")
	require.ErrorContains(t, err, "cannot read key certificates")
}

func FuzzDecode(f *testing.F) {
	f.Add(`[{"certificate_signing_request":"a"}]`, "a")
	f.Fuzz(func(t *testing.T, text, csr string) {
		_, ok, err := Decode(map[string]string{"certificates": text}, csr)
		require.False(t, ok && err != nil)
	})
}
