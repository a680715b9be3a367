package provisioners

import (
	"cmp"
	"errors"
	"fmt"
	"net/url"
	"slices"

	"github.com/waybill/waybill/consumers/agent/secret"
	"github.com/waybill/waybill/domain/definition"
	"github.com/waybill/waybill/internal/s3"
	"github.com/waybill/waybill/internal/seal"
)

// The adapters.
const (
	AdapterLocal     = "local"
	AdapterDirectory = "directory"
	AdapterS3        = "s3"
	AdapterHTTP      = "http"
)

// LocalType is the type that needs no entry in a configuration.
const LocalType = "local"

// Settings is what a configuration says of one provisioner.
type Settings struct {
	// Type is what a manifest's definitions name it by.
	Type    string `json:"type"`
	Adapter string `json:"adapter"`

	// Directory is, for directory, where the files go, on every machine that has agents.
	Directory string `json:"directory,omitempty"`

	// Endpoint is, for http, what is asked; for s3, a store that is not AWS's.
	Endpoint string `json:"endpoint,omitempty"`
	// Timeout is, for http, how long it may take to accept a request; outbound.DefaultTimeout
	// unless set.
	Timeout definition.Duration `json:"timeout,omitempty"`

	// For s3: where transfers get a place each, below Prefix.
	Bucket string `json:"bucket,omitempty"`
	Region string `json:"region,omitempty"`
	Prefix string `json:"prefix,omitempty"`
	// Keys are those that we read and delete with.
	Keys *KeyRefs `json:"keys,omitempty"`
	// HandOut are those that providers push with. They see them: they should be allowed to
	// write below Prefix and nothing else.
	HandOut *KeyRefs `json:"handOut,omitempty"`
	// KeyName names, instead, keys that providers have in a vault of their own.
	KeyName string `json:"keyName,omitempty"`
}

// KeyRefs say where the keys to an object store are kept.
type KeyRefs struct {
	AccessKeyID     secret.Ref `json:"accessKeyId"`
	SecretAccessKey secret.Ref `json:"secretAccessKey"`
}

// Check says what is wrong with a list of Settings, and in which entry.
func Check(list []Settings) error {
	var types []string
	for i, s := range list {
		name := fmt.Sprintf("provisioners[%d] (%s)", i, cmp.Or(s.Type, "without a type"))
		err := s.check()
		if slices.Contains(types, s.Type) {
			err = errors.New("there are two of this type")
		}
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		types = append(types, s.Type)
	}
	return nil
}

func (s Settings) check() error {
	if s.Type == "" {
		return errors.New("type: want what the definitions of a manifest name it by")
	}
	only := s
	only.Type, only.Adapter = "", ""
	switch s.Adapter {
	case AdapterLocal:
		if only != (Settings{}) {
			return errors.New("adapter local takes no other settings")
		}
		return nil
	case AdapterDirectory:
		only.Directory = ""
		if only != (Settings{}) || s.Directory == "" {
			return errors.New("adapter directory takes a directory and nothing else")
		}
		return nil
	case AdapterHTTP:
		only.Endpoint, only.Timeout = "", 0
		if only != (Settings{}) {
			return errors.New("adapter http takes endpoint and timeout")
		}
		_, err := s.endpoint()
		return err
	case AdapterS3:
		return s.checkS3()
	}
	return fmt.Errorf("adapter %q: want local, directory, s3 or http", s.Adapter)
}

// endpoint is what http asks.
func (s Settings) endpoint() (*url.URL, error) {
	u, err := url.Parse(s.Endpoint)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.Fragment != "" {
		return nil, errors.New("endpoint: want the address that is asked, like https://provisioner.example.com/provision")
	}
	if u.User != nil || seal.SecretURL(s.Endpoint) {
		return nil, errors.New("endpoint: has a user, a password or another secret in it; settings are printed and shown")
	}
	return u, nil
}

// host is the host of the endpoint, as an allow list has it.
func (s Settings) host() string {
	u, err := s.endpoint()
	if err != nil {
		return ""
	}
	return u.Scheme + "://" + u.Host
}

func (s Settings) checkS3() error {
	if s.Timeout != 0 || s.Directory != "" {
		return errors.New("adapter s3 takes no timeout and no directory")
	}
	if s.Keys == nil {
		return errors.New("keys: want the keys that the bucket is read with: {accessKeyId: {env: NAME}, secretAccessKey: {file: PATH}}")
	}
	if s.HandOut != nil && s.KeyName != "" {
		return errors.New("handOut and keyName exclude each other: providers get keys, or have them")
	}
	for name, keys := range map[string]*KeyRefs{"keys": s.Keys, "handOut": s.HandOut} {
		if keys == nil {
			continue
		}
		if err := cmp.Or(keys.AccessKeyID.Check(), keys.SecretAccessKey.Check()); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return s3.Config{Bucket: s.Bucket, Region: s.Region, Endpoint: s.Endpoint}.Check()
}
