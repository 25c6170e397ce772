package policy

import (
	"errors"
	"fmt"
	"math/big"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"
)

// Key is an entry of a policy's keys: a pattern for names of options, and a bound on their
// values. In YAML it is one of
//
//	limits.cpu                              any value that LXD takes
//	limits.memory: {max: 64GiB}             a number, size or percentage of at most that
//	linux.kernel_modules: [overlay, ip_*]   each part between commas fits one of these
type Key struct {
	Pattern string
	Max     string   // "" for none
	Values  []string // patterns; nil for none
}

// UnmarshalYAML implements yaml.Unmarshaler.
func (k *Key) UnmarshalYAML(node *yaml.Node) error {
	wrong := fmt.Errorf("line %d: wanted a key, or a key with a bound: KEY: {max: 64GiB} or KEY: [VALUE, …]", node.Line)
	switch node.Kind {
	case yaml.ScalarNode:
		k.Pattern = node.Value
	case yaml.MappingNode:
		if len(node.Content) != 2 || node.Content[0].Kind != yaml.ScalarNode {
			return wrong
		}
		k.Pattern = node.Content[0].Value
		switch bound := node.Content[1]; bound.Kind {
		case yaml.SequenceNode:
			if err := bound.Decode(&k.Values); err != nil || len(k.Values) == 0 {
				return wrong
			}
		case yaml.MappingNode:
			if len(bound.Content) != 2 || bound.Content[0].Value != "max" {
				return wrong
			}
			k.Max = bound.Content[1].Value
			if _, _, err := quantity(k.Max); err != nil {
				return fmt.Errorf("line %d: max of %s is %q: %w", bound.Line, k.Pattern, k.Max, err)
			}
		default:
			return wrong
		}
	default:
		return wrong
	}
	if k.Pattern == "" {
		return wrong
	}
	return nil
}

// refuseKey returns what the policy's keys would need to allow an option; "" if they allow it. One entry
// that allows it is enough.
func (p Policy) refuseKey(key, value string) string {
	needs := strconv.Quote(key)
	for _, k := range p.Keys {
		if !match(k.Pattern, key) {
			continue
		}
		refused := k.refuse(value)
		if refused == "" {
			return ""
		}
		needs = fmt.Sprintf("%q with another bound: %s", key, refused)
	}
	return needs
}

// refuse returns what the bound wants instead of the value; "" if it allows it.
func (k Key) refuse(value string) string {
	switch {
	case k.Max != "":
		most, kind, _ := quantity(k.Max)
		has, hasKind, err := quantity(value)
		if err != nil || kind != hasKind || has.Cmp(most) > 0 {
			return "it allows at most " + k.Max
		}
	case k.Values != nil:
		for part := range strings.SplitSeq(value, ",") {
			if part = strings.TrimSpace(part); !slices.ContainsFunc(k.Values, func(pattern string) bool { return match(pattern, part) }) {
				return fmt.Sprintf("it allows %s, not %.40q", strings.Join(k.Values, ", "), part)
			}
		}
	}
	return ""
}

// amount is a number with LXD's suffix of a size, or a percentage.
// https://documentation.ubuntu.com/lxd/en/stable-5.0/reference/instance_units/
var amount = regexp.MustCompile(`^([0-9]{1,19})(%|B|([kKMGTPE])(i?)B)?$`)

// quantity returns the value of a number, a size in bytes or a percentage, and "%" for a
// percentage.
func quantity(text string) (value *big.Int, kind string, err error) {
	parts := amount.FindStringSubmatch(text)
	if parts == nil {
		return nil, "", errors.New("wanted a number, a size such as 64GiB, or a percentage")
	}
	value, _ = new(big.Int).SetString(parts[1], 10)
	if parts[2] == "%" {
		return value, "%", nil
	}
	if parts[3] != "" {
		base := int64(1000)
		if parts[4] != "" {
			base = 1024
		}
		power := int64(strings.Index("KMGTPE", strings.ToUpper(parts[3])) + 1)
		value.Mul(value, new(big.Int).Exp(big.NewInt(base), big.NewInt(power), nil))
	}
	return value, "", nil
}
