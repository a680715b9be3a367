package provisioners

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"gocloud.dev/blob"
	"gocloud.dev/gcerrors"

	"github.com/waybill/waybill/consumers/agent"
	"github.com/waybill/waybill/consumers/agent/secret"
	"github.com/waybill/waybill/consumers/connectors/adapter"
	"github.com/waybill/waybill/internal/outbound"
	"github.com/waybill/waybill/internal/s3"
	"github.com/waybill/waybill/internal/seal"
	"github.com/waybill/waybill/schemas"
)

// amazonS3 is the type of data addresses in buckets.
const amazonS3 = "AmazonS3"

// objects gives each resource a folder of its own in a bucket.
type objects struct {
	settings Settings
	bucket   *blob.Bucket
	secrets  *secret.Store
	keys     *seal.Keyring
	maxBytes int64
}

func newObjects(s Settings, cfg Config) (*objects, error) {
	o := &objects{settings: s, secrets: cfg.Secrets, keys: cfg.Keys, maxBytes: cfg.MaxBytes}
	bucket, err := s3.OpenBucket(s3.Config{
		Bucket: s.Bucket, Region: s.Region, Endpoint: s.Endpoint, MaxBytes: cfg.MaxBytes,
		Credentials: func(ctx context.Context) (s3.Credentials, error) { return o.reveal(ctx, s.Keys) },
	})
	o.bucket = bucket
	return o, err
}

func (o *objects) reveal(ctx context.Context, refs *KeyRefs) (s3.Credentials, error) {
	if o.secrets == nil {
		return s3.Credentials{}, errors.New("this process keeps no secrets")
	}
	id, err := o.secrets.Get(ctx, refs.AccessKeyID)
	if err != nil {
		return s3.Credentials{}, err
	}
	key, err := o.secrets.Get(ctx, refs.SecretAccessKey)
	return s3.Credentials{AccessKeyID: id.Reveal(), SecretAccessKey: key.Reveal()}, err
}

// folder is where a resource's objects are. Nothing in an id leads out of it.
func (o *objects) folder(transfer, definition string) (string, error) {
	for _, part := range []string{transfer, definition} {
		if part == "" || part == "." || part == ".." || strings.ContainsAny(part, "/\\") {
			return "", fmt.Errorf("the id %q cannot be part of the name of an object", part)
		}
	}
	folder := transfer + "/" + definition
	if prefix := strings.Trim(o.settings.Prefix, "/"); prefix != "" {
		folder = prefix + "/" + folder
	}
	return folder, nil
}

func (o *objects) provision(ctx context.Context, _ agent.Activity, w wanted) agent.Result {
	folder, err := o.folder(w.TransferID, w.Definition.text("id"))
	if err != nil {
		return agent.Fatal(err)
	}
	object := w.Definition.text("objectName")
	if strings.Contains(object, "/") {
		return agent.Fatal(fmt.Errorf("objectName %q: want the name of an object in its folder, without slashes", object))
	}
	// A bucket that cannot be read would only be noticed when everything has been sent.
	if _, err := o.list(ctx, folder+"/", 1); err != nil {
		return adapter.Failed(o.fault(err))
	}
	address := map[string]any{"type": amazonS3, "region": o.settings.Region, "bucketName": o.settings.Bucket, "folderName": folder}
	for name, value := range map[string]string{"objectName": object, "endpointOverride": o.settings.Endpoint, "keyName": o.settings.KeyName} {
		if value != "" {
			address[name] = value
		}
	}
	if o.settings.HandOut != nil {
		if err := o.handOut(ctx, w.TransferID, address); err != nil {
			return agent.Retry(err)
		}
	}
	return provisioned(w, folder, address)
}

func (o *objects) handOut(ctx context.Context, transfer string, address map[string]any) error {
	keys, err := o.reveal(ctx, o.settings.HandOut)
	if err != nil {
		return err
	}
	secret, err := schemas.Encode(keys.SecretAccessKey)
	if err != nil {
		return err
	}
	address["accessKeyId"] = keys.AccessKeyID
	address["secretAccessKey"], err = o.keys.Seal(seal.Transfer(transfer), secret)
	return err
}

// deprovision deletes the folder.
func (o *objects) deprovision(ctx context.Context, _ agent.Activity, w wanted) agent.Result {
	id := w.Resource.DefinitionID
	if id == "" {
		id = w.Definition.text("id")
	}
	folder, err := o.folder(w.TransferID, id)
	if err != nil {
		return agent.Fatal(err)
	}
	it := o.bucket.List(&blob.ListOptions{Prefix: folder + "/"})
	for {
		object, err := it.Next(ctx)
		if errors.Is(err, io.EOF) {
			return agent.Complete(map[string]any{})
		}
		if err == nil {
			err = o.bucket.Delete(ctx, object.Key)
		}
		if err != nil && gcerrors.Code(err) != gcerrors.NotFound {
			return adapter.Failed(o.fault(err))
		}
	}
}

func (o *objects) collect(ctx context.Context, w wanted) (adapter.Document, error) {
	return o.read(ctx, place(w.Resource.DataAddress))
}

// place is where a data address says that the object is: its name, or the folder it is in.
func place(d dataAddress) string {
	folder := strings.Trim(d["folderName"], "/")
	if folder != "" {
		folder += "/"
	}
	return folder + d["objectName"]
}

// most is how many objects are looked at to say that there are several.
const most = 5

// read reads the one object at a place.
func (o *objects) read(ctx context.Context, place string) (adapter.Document, error) {
	fault := func(format string, args ...any) (adapter.Document, error) {
		return adapter.Document{}, &adapter.Fault{Step: stepCollect, Err: fmt.Errorf("bucket %s: "+format, append([]any{o.settings.Bucket}, args...)...)}
	}
	key := place
	if place == "" || strings.HasSuffix(place, "/") {
		keys, err := o.list(ctx, place, most)
		switch {
		case err != nil:
			return adapter.Document{}, o.fault(err)
		case len(keys) == 0:
			return fault("the transfer is said to be complete, but nothing is in %s", place)
		case len(keys) > 1:
			return fault("there are several objects in %s: %s; name the one that is meant as objectName in the definition", place, strings.Join(keys, ", "))
		}
		key = keys[0]
	}
	r, err := o.bucket.NewReader(ctx, key, nil)
	if err != nil {
		return adapter.Document{}, o.fault(err)
	}
	defer r.Close() //nolint:errcheck // it was read
	if r.Size() > o.maxBytes {
		return fault("object %s has %d bytes, over the limit of %d", key, r.Size(), o.maxBytes)
	}
	body, err := io.ReadAll(r)
	if err != nil {
		return adapter.Document{}, o.fault(err)
	}
	return adapter.Document{Body: body, ContentType: r.ContentType(), Source: o.settings.Bucket + "/" + key}, nil
}

// list lists objects, up to a number. Empty ones whose name ends like a folder's are what
// some consoles make.
func (o *objects) list(ctx context.Context, prefix string, most int) ([]string, error) {
	it := o.bucket.List(&blob.ListOptions{Prefix: prefix})
	var keys []string
	for len(keys) < most {
		object, err := it.Next(ctx)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		if !strings.HasSuffix(object.Key, "/") {
			keys = append(keys, object.Key)
		}
	}
	return keys, nil
}

// fault says whether trying again makes sense.
func (o *objects) fault(err error) error {
	f := &adapter.Fault{Step: stepCollect, Err: fmt.Errorf("bucket %s: %w", o.settings.Bucket, err), Again: gcerrors.Code(err) == gcerrors.Unknown}
	var refused *s3.Error
	var failed *outbound.Fault
	switch {
	case o.bucket.ErrorAs(err, &refused):
		f.Again, f.After = refused.Fault.Again, refused.Fault.After
	case o.bucket.ErrorAs(err, &failed):
		f.Again, f.After = failed.Again, failed.After
	}
	return f
}
