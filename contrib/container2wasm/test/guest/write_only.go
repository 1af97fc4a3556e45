package main

import (
	"os"
	"path/filepath"
)

// The control of the experiment, in place of entropy.go: what is written to /dev/urandom does not change what copies of a guest draw.
func reseedEntropy(dir string) error {
	seed, err := os.ReadFile(filepath.Join(dir, "entropy"))
	if err != nil {
		return err
	}
	return os.WriteFile("/dev/urandom", seed, 0)
}
