// Package contract holds every call of a hook tool that the charms make against the code of
// Juju's unit agent itself, of 3.6 and of 4, and the charms' metadata, bundles and overlays
// against what either version reads them with. Its tests have the build tag contract:
//
//	make contract
//
// No controller is needed: folder agent, a module of its own, is the part of the agent that
// answers hook tools, in a world that a test describes. package hooktool runs in the test as it
// does in a charm, and reaches that agent over the socket that it reaches Juju's own by.
package contract
