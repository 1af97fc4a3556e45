package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// generator records what is asked of it.
type generator struct {
	calls     []string
	seed      []byte
	failsAdd  error
	failsSeed error
}

func (g *generator) addEntropy(seed []byte) error {
	g.calls = append(g.calls, fmt.Sprintf("add %d", len(seed)))
	g.seed = seed
	return g.failsAdd
}

func (g *generator) reseed() error {
	g.calls = append(g.calls, "reseed")
	return g.failsSeed
}

func (g *generator) Close() error {
	g.calls = append(g.calls, "close")
	return nil
}

func TestReseeding(t *testing.T) {
	refused := errors.New("refused")
	used := func(bytes int) []string { return []string{fmt.Sprintf("add %d", bytes), "reseed", "close"} }
	none := -1
	for _, test := range []struct {
		name      string
		bytes     int // of the seed
		required  bool
		generator generator
		open      error
		remove    error
		calls     []string
		fails     string
		stays     bool
	}{
		{name: "a seed is credited, then the generator takes it", bytes: 64, calls: used(64)},
		{name: "and so is one that is required", bytes: 64, required: true, calls: used(64)},
		{name: "the shortest seed is as long as a key", bytes: 32, calls: used(32)},
		{name: "of a long one, the beginning is used", bytes: 4096, calls: used(512)},
		{name: "a host without seeds is served", bytes: none},
		{name: "but not where a seed is required", bytes: none, required: true, fails: "no such file"},
		{name: "a short seed is refused", bytes: 31, fails: "has 31 bytes, not 32 or more", stays: true},
		{name: "an empty seed is refused", bytes: 0, fails: "has 0 bytes", stays: true},
		{name: "no generator", bytes: 64, open: refused, fails: "refused", stays: true},
		{name: "a seed that is not credited ends it", bytes: 64, generator: generator{failsAdd: refused}, calls: []string{"add 64", "close"},
			fails: "RNDADDENTROPY: refused", stays: true},
		{name: "a generator that does not take it ends it", bytes: 64, generator: generator{failsSeed: refused}, calls: used(64),
			fails: "RNDRESEEDCRNG: refused", stays: true},
		{name: "a read-only share keeps the seed", bytes: 64, remove: refused, calls: used(64), stays: true},
	} {
		t.Run(test.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), entropyFile)
			if test.bytes != none {
				if err := os.WriteFile(path, bytes.Repeat([]byte{0xa5}, test.bytes), 0600); err != nil {
					t.Fatal(err)
				}
			}
			fake := test.generator
			r := reseeding{
				path:     path,
				required: test.required,
				open:     func() (random, error) { return &fake, test.open },
				remove: func(path string) error {
					if test.remove != nil {
						return test.remove
					}
					return os.Remove(path)
				},
			}
			err := r.run()
			if test.fails == "" && err != nil || test.fails != "" && (err == nil || !strings.Contains(err.Error(), test.fails)) {
				t.Errorf("error %v, expected %q", err, test.fails)
			}
			if !reflect.DeepEqual(fake.calls, test.calls) {
				t.Errorf("calls %q, expected %q", fake.calls, test.calls)
			}
			if _, err := os.Stat(path); os.IsNotExist(err) == test.stays {
				t.Errorf("the file: %v", err)
			}
			if bytes.Count(fake.seed, []byte{0}) != len(fake.seed) {
				t.Error("the seed is still in memory")
			}
		})
	}
}
