package main

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"
)

// With TLS, what is left without it is what MAAS's template of nginx has.
func TestPlainBesideTLS(t *testing.T) {
	webapp := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
	plain := plainBesideTLS("5443", webapp)
	ask := func(method, path string) *http.Response {
		answer := httptest.NewRecorder()
		plain.ServeHTTP(answer, httptest.NewRequest(method, "http://10.0.0.1:5240"+path, nil))
		return answer.Result()
	}
	for _, path := range []string{"/MAAS/rpc/", "/MAAS/metadata/latest/", "/MAAS/api/2.0/machines/", "/MAAS/images-stream/streams/v1/index.json", "/MAAS/boot-resources/a/b"} {
		require.Equal(t, http.StatusNoContent, ask(http.MethodGet, path).StatusCode, path)
	}
	for _, path := range []string{"/MAAS/api/2.0/version/", "/MAAS/api/2.0/rackcontrollers/?op=x", "/MAAS/r/"} {
		answer := ask(http.MethodPost, path)
		require.Equal(t, http.StatusMovedPermanently, answer.StatusCode, path)
		require.Equal(t, "https://10.0.0.1:5443"+path, answer.Header.Get("Location"))
	}
	require.Equal(t, http.StatusNotFound, ask(http.MethodGet, "/").StatusCode)
}

// While regiond does not run, nginx answers in its place.
func TestFrontWithoutRegion(t *testing.T) {
	answer := httptest.NewRecorder()
	webapp().ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "/MAAS/api/2.0/version/", nil))
	require.Equal(t, http.StatusBadGateway, answer.Code)
}
