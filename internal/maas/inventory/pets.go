package inventory

import "github.com/dcib/dcib/internal/scheduler/calendar"

// ParsePets reads the pets that pet-scheduler takes, in the format of docs/reference/pets.md.
// Their windows have to be right, too. The error is a calendar.Problems.
func ParsePets(text []byte) ([]Pet, error) {
	all, err := calendar.Parse(text)
	if err != nil {
		return nil, err
	}
	var pets []Pet
	for _, p := range all {
		pets = append(pets, Pet{Hostname: p.Member, Traits: p.Traits})
	}
	return pets, nil
}
