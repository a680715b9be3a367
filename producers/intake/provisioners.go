package intake

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/waybill/waybill/domain/blob"
	"github.com/waybill/waybill/domain/transfer"
	"github.com/waybill/waybill/internal/callbacks"
	"github.com/waybill/waybill/internal/seal"
	"github.com/waybill/waybill/producers"
	"github.com/waybill/waybill/schemas"
)

// callbackWait is how long whoever reports, or pushes, waits for the decision at most. After
// it the answer is 202: the report is on the log.
const callbackWait = 10 * time.Second

// provisionerRoutes take what provisioners report, in EDC's form, and what is pushed to the
// addresses that we hand out.
func (in *Intake) provisionerRoutes(handle func(string, func(http.ResponseWriter, *http.Request) error)) {
	at := "POST " + callbacks.ProvisionerPrefix + "{subject}/{proof}/{transferId}/"
	reported := func(read func(w http.ResponseWriter, r *http.Request, about callbacks.Subject) (transfer.Command, error)) func(http.ResponseWriter, *http.Request) error {
		return func(w http.ResponseWriter, r *http.Request) error {
			about, ok := in.cfg.Proofs.Provisioner(r.PathValue("subject"), r.PathValue("proof"))
			if !ok || about.Aggregate != schemas.AggregateTransfer || about.ID != r.PathValue("transferId") {
				return errNoAddress
			}
			c, err := read(w, r, about)
			if err != nil {
				return err
			}
			return in.tellTransfer(w, r, about.ID, c)
		}
	}
	handle(at+"provision", reported(in.provisioned))
	handle(at+"deprovision", reported(in.deprovisioned))
	for _, method := range []string{http.MethodPost, http.MethodPut} {
		handle(method+" "+callbacks.UploadPrefix+"{subject}/{proof}", in.upload)
	}
}

// errOtherResource is the answer to a report about what the address was not given for.
var errOtherResource = fail(http.StatusNotFound, "there is no such resource at this address: it is good for the one that it was given for")

// tellTransfer publishes what a transfer is told and answers with its decision: what it
// already knows is as good as new.
func (in *Intake) tellTransfer(w http.ResponseWriter, r *http.Request, id string, c transfer.Command) error {
	wait, err := in.preferredWait(r)
	if err != nil {
		return err
	}
	command, err := producers.TransferCommand(id, "", c)
	if err != nil {
		return err
	}
	command.TraceParent = r.Header.Get("traceparent")
	accepted, err := in.publish(r.Context(), command)
	if err != nil {
		return err
	}
	_, err = in.decision(r.Context(), accepted, min(cmp.Or(wait, callbackWait), in.cfg.MaxWait))
	switch {
	case errors.Is(err, ErrUndecided):
		w.WriteHeader(http.StatusAccepted)
		return nil
	case err != nil:
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// provisioned reads that a resource is there. Its secrets are sealed before anything else is
// done with them.
func (in *Intake) provisioned(w http.ResponseWriter, r *http.Request, about callbacks.Subject) (transfer.Command, error) {
	var body struct {
		ResourceDefinitionID string          `json:"resourceDefinitionId"`
		AssetID              string          `json:"assetId"`
		ResourceName         string          `json:"resourceName"`
		ContentDataAddress   json.RawMessage `json:"contentDataAddress"`
		APIKeyJWT            string          `json:"apiKeyJwt"`
		HasToken             bool            `json:"hasToken"`
	}
	if err := in.readReport(w, r, &body); err != nil {
		return nil, err
	}
	switch {
	case body.ResourceDefinitionID == "":
		return nil, misfit("resourceDefinitionId", "is missing")
	case body.ResourceDefinitionID != about.Task:
		return nil, errOtherResource
	case len(body.ContentDataAddress) == 0 || body.ContentDataAddress[0] != '{':
		return nil, misfit("contentDataAddress", "want a data address, {properties: {…}}")
	}
	if err := blob.Refuse(body.ContentDataAddress); err != nil {
		return nil, misfit("contentDataAddress", err.Error())
	}
	purpose := seal.Transfer(about.ID)
	address, err := in.cfg.Keys.SealMembers(purpose, body.ContentDataAddress, seal.SecretName)
	if err != nil {
		return nil, unsealed("contentDataAddress", err)
	}
	c := transfer.Provisioned{
		ResourceDefinitionID: body.ResourceDefinitionID, AssetID: body.AssetID, ResourceName: body.ResourceName,
		ContentDataAddress: address, HasToken: body.HasToken,
	}
	if body.APIKeyJWT == "" {
		return c, nil
	}
	token, err := json.Marshal(body.APIKeyJWT)
	if err != nil {
		return nil, err
	}
	sealed, err := in.cfg.Keys.Seal(purpose, token)
	if err != nil {
		return nil, unsealed("apiKeyJwt", err)
	}
	c.Secret, err = json.Marshal(sealed)
	return c, err
}

// unsealed is why something could not be sealed: it is whoever sent it who has to change
// that, unless this process has no keys.
func unsealed(path string, err error) error {
	if errors.Is(err, seal.ErrNoKeys) {
		return err
	}
	return misfit(path, err.Error())
}

func (in *Intake) deprovisioned(w http.ResponseWriter, r *http.Request, about callbacks.Subject) (transfer.Command, error) {
	var body struct {
		ProvisionedResourceID string `json:"provisionedResourceId"`
		InProcess             bool   `json:"inProcess"`
		Error                 bool   `json:"error"`
		ErrorMessage          string `json:"errorMessage"`
	}
	if err := in.readReport(w, r, &body); err != nil {
		return nil, err
	}
	c := transfer.Deprovisioned(body)
	if c.ProvisionedResourceID == "" || c.ProvisionedResourceID == about.ID {
		// EDC's own says the transfer here; the address knows which resource it was given for.
		c.ProvisionedResourceID = about.Task
	}
	if c.ProvisionedResourceID != about.Task {
		return nil, errOtherResource
	}
	c.ErrorMessage = clip(c.ErrorMessage)
	return c, nil
}

// readReport reads a body of another system: what it has beside what we know is its own business.
func (in *Intake) readReport(w http.ResponseWriter, r *http.Request, body any) error {
	_, raw, err := in.readObject(w, r, false)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(raw, body); err != nil {
		return mistake(err)
	}
	return nil
}

// upload takes what is pushed to a resource's address, whatever it is. It goes over the log
// to whoever collects it. The same again changes nothing, anything else is refused.
func (in *Intake) upload(w http.ResponseWriter, r *http.Request) error {
	about, ok := in.cfg.Proofs.Upload(r.PathValue("subject"), r.PathValue("proof"))
	if !ok || about.Aggregate != schemas.AggregateTransfer {
		return errNoAddress
	}
	if !in.enterUpload(r.Context()) {
		return &busyError{ReasonUploads, fmt.Sprintf("%d uploads are under way, and none has ended for %s", maxUploads, callbackWait), 1}
	}
	c, err := in.receive(w, r, about)
	<-in.uploads
	if err != nil {
		return err
	}
	return in.tellTransfer(w, r, about.ID, c)
}

// receive reads what is pushed, and puts it on the log where it is large.
func (in *Intake) receive(w http.ResponseWriter, r *http.Request, about callbacks.Subject) (transfer.Command, error) {
	body, err := readAll(http.MaxBytesReader(w, r.Body, in.cfg.MaxPayload), r.ContentLength, in.cfg.MaxPayload)
	var tooLarge *http.MaxBytesError
	switch {
	case isBusy(err):
		return nil, err
	case errors.As(err, &tooLarge):
		return nil, fail(http.StatusRequestEntityTooLarge, "what is pushed is larger than the limit of %d bytes (--max-payload)", tooLarge.Limit)
	case err != nil:
		return nil, fail(http.StatusBadRequest, "the body could not be read: %v", err)
	}
	return in.uploaded(r.Context(), about, r.Header.Get("Content-Type"), body)
}

// maxUploads is how many uploads are under way at once: each is held as a whole, and all of them are
// written to one topic.
const maxUploads = 16

// enterUpload waits for a place, as long as whoever pushes may have to wait at all.
func (in *Intake) enterUpload(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, callbackWait)
	defer cancel()
	select {
	case in.uploads <- struct{}{}:
		return true
	case <-ctx.Done():
		return false
	}
}

func (in *Intake) uploaded(ctx context.Context, about callbacks.Subject, contentType string, body []byte) (transfer.Command, error) {
	content, err := schemas.Encode(schemas.NewPushed(contentType, body))
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, in.cfg.PublishTimeout)
	defer cancel()
	if content, err = in.cfg.Publisher.Pack(ctx, about.ID, "content", content); err != nil {
		return nil, err
	}
	digest := sha256.Sum256(body)
	return transfer.Uploaded{
		ResourceDefinitionID: about.Task, Digest: hex.EncodeToString(digest[:]), Bytes: int64(len(body)), Content: content,
	}, nil
}
