// Command guest is the whole userland of the instances that the real suites start inside
// the LXD cluster: process 1 that does nothing until it is told to end. An image of it is
// 1 MB, so dozens can be moved about on a small machine.
package main

import (
	"os"
	"os/signal"
	"syscall"
)

func main() {
	// LXD asks a container to shut down by SIGPWR, and to reboot by SIGINT.
	end := make(chan os.Signal, 1)
	signal.Notify(end, syscall.SIGPWR, syscall.SIGTERM, syscall.SIGINT)
	<-end
}
