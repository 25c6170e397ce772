module github.com/dcib/dcib/charms/lxd-cluster

go 1.26

require (
	github.com/canonical/lxd v0.0.0-20251125210512-b190d213bd11
	github.com/dcib/dcib v0.0.0
	github.com/stretchr/testify v1.11.1
)

replace github.com/dcib/dcib => ../..
