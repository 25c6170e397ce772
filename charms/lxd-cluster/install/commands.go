package install

import "github.com/dcib/dcib/internal/host/command"

// Commands runs programs of the machine.
type Commands = command.Runner
