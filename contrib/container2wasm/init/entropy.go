package main

import (
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"path/filepath"
	"syscall"
	"unsafe"
)

// A guest that continues from a snapshot has the random generator of the snapshot: all copies of it draw the same numbers. The host therefore
// leaves fresh random bytes in the file entropy of the 9P mount that also holds info, and reseedEntropy, called as soon as the guest continues,
// makes the generator this copy's own.
//
// Two requests are needed. RNDADDENTROPY, like a write to /dev/urandom, only mixes the bytes into the kernel's pool. What programs draw changes
// when the generator takes its next key from there: within a minute by itself, and at once with RNDRESEEDCRNG (Linux 5.18, drivers/char/random.c).

const (
	entropyFile = "entropy"
	// minEntropy is the size of the generator's key.
	minEntropy = 32
	// maxEntropy bounds what is read. More would be hashed into the same 32 bytes.
	maxEntropy = 512

	// The same numbers on all processors whose ioctl numbers are the generic ones: x86, Arm, RISC-V.
	rndAddEntropy = 0x40085203
	rndReseedCRNG = 0x5207
)

// reseedEntropy makes the guest draw random numbers of its own, from the seed in dir, and removes the seed.
//
// It does nothing if there is no seed, for hosts that know nothing of it, unless REQUIRE_ENTROPY=1 is in the environment: on the kernel's command
// line, for example. A seed that is there but cannot be used is always an error, and the guest must not go on.
func reseedEntropy(dir string) error {
	r := reseeding{
		path:     filepath.Join(dir, entropyFile),
		required: os.Getenv("REQUIRE_ENTROPY") == "1",
		open:     openRandom,
		remove:   os.Remove,
	}
	return r.run()
}

// random is the kernel's random generator.
type random interface {
	// addEntropy mixes seed into the generator's pool, and credits it in full.
	addEntropy(seed []byte) error
	// reseed takes a new key from the pool.
	reseed() error
	io.Closer
}

type reseeding struct {
	path     string
	required bool
	open     func() (random, error)
	remove   func(path string) error
}

func (r reseeding) run() error {
	seed, err := readSeed(r.path)
	if errors.Is(err, os.ErrNotExist) && !r.required {
		log.Printf("no %s from the host: copies of this guest draw the same random numbers\n", r.path)
		return nil
	}
	if err != nil {
		return fmt.Errorf("cannot reseed the random generator: %w", err)
	}
	defer wipe(seed)
	if len(seed) < minEntropy {
		return fmt.Errorf("cannot reseed the random generator: %s has %d bytes, not %d or more", r.path, len(seed), minEntropy)
	}
	if err := r.feed(seed); err != nil {
		return fmt.Errorf("cannot reseed the random generator: %w", err)
	}
	// The host may have shared it read-only.
	if err := r.remove(r.path); err != nil {
		log.Printf("the seed stays: %v\n", err)
	}
	return nil
}

func (r reseeding) feed(seed []byte) error {
	generator, err := r.open()
	if err != nil {
		return err
	}
	defer generator.Close()
	if err := generator.addEntropy(seed); err != nil {
		return fmt.Errorf("RNDADDENTROPY: %w", err)
	}
	if err := generator.reseed(); err != nil {
		return fmt.Errorf("RNDRESEEDCRNG: %w", err)
	}
	return nil
}

// readSeed reads at most maxEntropy bytes.
func readSeed(path string) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	seed := make([]byte, maxEntropy)
	n, err := io.ReadFull(file, seed)
	if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
		wipe(seed)
		return nil, err
	}
	return seed[:n], nil
}

func wipe(bytes []byte) {
	for i := range bytes {
		bytes[i] = 0
	}
}

// device is the generator behind /dev/urandom.
type device struct {
	*os.File
}

func openRandom() (random, error) {
	file, err := os.OpenFile("/dev/urandom", os.O_WRONLY, 0)
	if err != nil {
		return nil, err
	}
	return device{file}, nil
}

func (d device) addEntropy(seed []byte) error {
	// struct rand_pool_info
	var info struct {
		bits, size int32
		bytes      [maxEntropy]byte
	}
	defer wipe(info.bytes[:])
	info.size = int32(copy(info.bytes[:], seed))
	info.bits = 8 * info.size
	return d.ioctl(rndAddEntropy, unsafe.Pointer(&info))
}

func (d device) reseed() error {
	return d.ioctl(rndReseedCRNG, nil)
}

func (d device) ioctl(request uintptr, argument unsafe.Pointer) error {
	if _, _, errno := syscall.Syscall(syscall.SYS_IOCTL, d.Fd(), request, uintptr(argument)); errno != 0 {
		return errno
	}
	return nil
}
