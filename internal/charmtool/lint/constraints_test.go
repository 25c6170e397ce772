package lint

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestDirectives(t *testing.T) {
	for _, tc := range []struct {
		name   string
		verify func(string) error
		good   []string
		bad    []string
	}{{
		"constraints", verifyConstraints,
		[]string{"", "cores=4 mem=8G", "mem=1.5T root-disk=100G", "arch=arm64", "spaces=alpha,^beta zones=a,b", "arch=", "virt-type=virtual-machine", "allocate-public-ip=true"},
		[]string{"cores", "cores=many", "mem=8GB", "container=kvm", "mem=-1", "arch=i386", "cpus=4", "cores=1 cores=2", "allocate-public-ip=yes"},
	}, {
		"storage", verifyStorage,
		[]string{"ebs", "10G", "ebs,10G", "ebs,100G,2", "3", "2,ebs", "ebs,1.5TiB"},
		[]string{"", "10G,20G", "ebs,lxd", "0", "-1", "ten G"},
	}, {
		"devices", verifyDevices,
		[]string{"nvidia.com/gpu", "2,nvidia.com/gpu", "2,nvidia.com/gpu,gpu=tesla;mem=8"},
		[]string{"", "0,gpu", "2", "gpu,a", "gpu,a=1,b=2", "a=1"},
	}} {
		for _, s := range tc.good {
			assert.NoError(t, tc.verify(s), "%s %q", tc.name, s)
		}
		for _, s := range tc.bad {
			assert.Error(t, tc.verify(s), "%s %q", tc.name, s)
		}
	}
}
