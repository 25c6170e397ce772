// Package testkit is the folder of the test doubles and checks that several packages share. They may
// be imported by tests only, and by each other; its test checks that.
package testkit
