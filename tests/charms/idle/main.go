// Command idle is a charm that does nothing: an application for the real suites to have.
package main

import (
	"log"
	"os/exec"
)

func main() {
	if out, err := exec.Command("status-set", "active", "").CombinedOutput(); err != nil {
		log.Fatalf("cannot set the status: %v: %s", err, out)
	}
}
