package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// usageError is an error in how the command was called: it ends with exit code 2.
type usageError struct{ error }

// Unwrap implements errors.Unwrap.
func (e usageError) Unwrap() error { return e.error }

// usagef returns a usageError with that text, as fmt.Errorf makes it.
func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// suggestWithin is how many letters a mistyped verb may differ from the one that is suggested.
const suggestWithin = 2

// strict makes a usageError of each unknown verb, flag and argument of root and of all commands
// below it, those that cobra adds among them. Cobra itself shows its help for an unknown verb
// and returns no error.
func strict(root *cobra.Command) {
	root.SetHelpCommand(newHelpCmd())
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd("")
	root.SetFlagErrorFunc(flagError)
	var each func(cmd *cobra.Command)
	each = func(cmd *cobra.Command) {
		if check := cmd.Args; check != nil {
			cmd.Args = func(cmd *cobra.Command, args []string) error {
				if err := check(cmd, args); err != nil {
					return usagef("%w\nusage: %s\nsee %s --help", err, cmd.UseLine(), cmd.CommandPath())
				}
				return nil
			}
		}
		if cmd.HasSubCommands() && !cmd.Runnable() {
			cmd.Args = func(cmd *cobra.Command, args []string) error {
				if len(args) == 0 {
					return nil
				}
				return unknownVerb(cmd, args[0])
			}
			cmd.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
		}
		for _, child := range cmd.Commands() {
			each(child)
		}
	}
	each(root)
}

// unknownVerb returns the error for a verb that cmd does not have, with what was probably meant.
func unknownVerb(cmd *cobra.Command, verb string) error {
	cmd.SuggestionsMinimumDistance = suggestWithin
	if near := cmd.SuggestionsFor(verb); len(near) > 0 {
		slices.Sort(near)
		return usagef("unknown command %q for %q: did you mean %s?", verb, cmd.CommandPath(), strings.Join(near, " or "))
	}
	return usagef("unknown command %q for %q: see %s --help", verb, cmd.CommandPath(), cmd.CommandPath())
}

// newHelpCmd is dcib help: cobra's own, which fails for what there is not.
func newHelpCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "help [COMMAND]",
		Short: "Help about any command",
		RunE: func(cmd *cobra.Command, args []string) error {
			found, rest, err := cmd.Root().Find(args)
			if err != nil || found == nil {
				return unknownVerb(cmd.Root(), args[0])
			}
			if len(rest) > 0 {
				return unknownVerb(found, rest[0])
			}
			found.InitDefaultHelpFlag()
			return found.Help()
		},
	}
}

// wantedOf is what a flag's value looks like, by the name of its type in pflag.
var wantedOf = map[string]string{
	"int": "a number", "bool": "true or false", "duration": "a time such as 90s, 30m or 2h",
}

// flagError says what is wrong with a flag without the words of the parser of its value.
func flagError(cmd *cobra.Command, err error) error {
	var bad *pflag.InvalidValueError
	if errors.As(err, &bad) {
		if want, ok := wantedOf[bad.GetFlag().Value.Type()]; ok {
			return usagef("cannot use --%s %q: wanted %s", bad.GetFlag().Name, bad.GetValue(), want)
		}
	}
	return usagef("%w: see %s --help", err, cmd.CommandPath())
}

// oneOf returns a usageError unless a flag has one of the values.
func oneOf(flag, got string, values ...string) error {
	if slices.Contains(values, got) {
		return nil
	}
	last := len(values) - 1
	return usagef("cannot print: expected --%s %s or %s, got %q", flag, strings.Join(values[:last], ", "), values[last], got)
}
