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
	// LXC asks a container to shut down by SIGPWR, or by SIGRTMIN+3 when process 1 blocks
	// that, as systemd does and as is inherited here; and to reboot by SIGINT.
	const sigrtmin3 = syscall.Signal(34 + 3)
	end := make(chan os.Signal, 1)
	signal.Notify(end, syscall.SIGPWR, sigrtmin3, syscall.SIGTERM, syscall.SIGINT)
	<-end
}
