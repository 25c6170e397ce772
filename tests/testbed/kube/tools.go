//go:build tools

// Package tools pins the commands of a real Kubernetes API. The module stands outside go.work:
// Kubernetes' versions must not rule those of dcib.
package tools

import (
	_ "k8s.io/kubernetes/cmd/kube-apiserver"
	_ "k8s.io/kubernetes/cmd/kube-controller-manager"
)
