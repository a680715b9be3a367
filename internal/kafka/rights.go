package kafka

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"
)

// Role is what a process, or somebody, does with the log.
type Role string

// The roles. Those of a server are also values of its flag.
const (
	RoleMachines    Role = "machines"    // serve: decide commands
	RoleAgents      Role = "agents"      // serve, agent, programs of others: carry out work
	RoleProjections Role = "projections" // serve: fold events into SQLite
	RoleAPI         Role = "api"         // serve: answer HTTP
	RolePublisher   Role = "publisher"   // submit --brokers, programs of others: write commands
	RoleSubscriber  Role = "subscriber"  // submit --brokers --wait, programs of others: read completions
	RoleOperator    Role = "operator"    // topics create, topics describe
)

// AccessRoles lists the roles that have rights of their own.
func AccessRoles() []Role {
	return []Role{RoleMachines, RoleAgents, RoleProjections, RoleAPI, RolePublisher, RoleSubscriber, RoleOperator}
}

// The kinds of what rights are about, as Kafka's own tools call them.
const (
	OnTopic           = "topic"
	OnGroup           = "group"
	OnTransactionalID = "transactional-id"
)

// Right is what a role has to be allowed.
type Right struct {
	On         string              `json:"on"` // OnTopic, OnGroup or OnTransactionalID
	Name       string              `json:"name"`
	Prefixed   bool                `json:"prefixed,omitempty"` // Name is the beginning of names
	Operations []kadm.ACLOperation `json:"operations"`
	For        string              `json:"for"`
	// Optional rights are for what may be done without, or by somebody else.
	Optional bool `json:"optional,omitempty"`
}

// Log says which topics there are: what rights are about.
type Log struct {
	Topics
	Aggregates    []string // aggregate types
	ActivityTypes []string // that agents carry out
	// Askers are the aggregate types that ask agents for work, and are told what came of it.
	Askers []string
	// ConsumerGroup says that agents share work in a consumer group, whatever the brokers know.
	ConsumerGroup bool
	// Subscribers is a subscriber's consumer group; it needs none.
	Subscribers string
}

// Rights is the one table of who has to be allowed what. Describing is implied by reading and writing.
func (l Log) Rights(role Role) []Right {
	switch role {
	case RoleMachines:
		return l.machines()
	case RoleAgents:
		return l.agents()
	case RoleProjections:
		return append(l.each(l.Events, "fold them", read),
			Right{On: OnTopic, Name: l.DeadLetters(), Operations: read, For: "show them"})
	case RoleAPI:
		return append(l.each(l.Commands, "the intake's commands", write),
			Right{On: OnTopic, Name: l.Definitions(), Operations: read, For: "what is in force"},
			Right{On: OnTopic, Name: l.Blobs(), Operations: readWrite, For: "large values"})
	case RolePublisher:
		return append(l.each(l.Commands, "publish them", write),
			Right{On: OnTopic, Name: l.Blobs(), Operations: write, For: "large inputs"})
	case RoleSubscriber:
		rights := append(l.each(l.Completions, "be told of ends", read),
			Right{On: OnTopic, Name: l.Blobs(), Operations: read, For: "large outputs"})
		if l.Subscribers != "" {
			rights = append(rights, Right{On: OnGroup, Name: l.Subscribers, Operations: read, For: "share them, and go on where it stopped"})
		}
		return rights
	case RoleOperator:
		return []Right{{On: OnTopic, Name: l.name(""), Prefixed: true, For: "topics create, topics describe", Operations: []kadm.ACLOperation{
			kmsg.ACLOperationCreate, kmsg.ACLOperationDescribe, kmsg.ACLOperationDescribeConfigs, kmsg.ACLOperationAlterConfigs,
		}}}
	}
	return nil
}

var (
	read      = []kadm.ACLOperation{kmsg.ACLOperationRead}
	write     = []kadm.ACLOperation{kmsg.ACLOperationWrite}
	readWrite = []kadm.ACLOperation{kmsg.ACLOperationRead, kmsg.ACLOperationWrite}
)

// each is the right to one topic of every aggregate type.
func (l Log) each(topic func(aggregate string) string, why string, operations []kadm.ACLOperation) []Right {
	rights := make([]Right, len(l.Aggregates))
	for i, a := range l.Aggregates {
		rights[i] = Right{On: OnTopic, Name: topic(a), Operations: operations, For: why}
	}
	return rights
}

func (l Log) machines() []Right {
	rights := slices.Concat(
		l.each(l.Commands, "decide them; put those right that lie on a wrong partition", readWrite),
		l.each(l.Events, "state", readWrite),
		l.each(l.Completions, "ends and refusals", write),
		l.each(l.Snapshots, "recovery", readWrite),
		[]Right{
			{On: OnTopic, Name: l.Shards(), Operations: read, For: "who decides which shard"},
			{On: OnTopic, Name: l.Definitions(), Operations: readWrite, For: "what is in force"},
			{On: OnTopic, Name: l.Blobs(), Operations: readWrite, For: "large values, and removing them"},
			{On: OnTopic, Name: l.DeadLetters(), Operations: write, For: "what cannot be read"},
		})
	for i := range rights { // the settings are looked at before anything is decided
		rights[i].Operations = append(slices.Clone(rights[i].Operations), kmsg.ACLOperationDescribeConfigs)
	}
	remove := []kadm.ACLOperation{kmsg.ACLOperationDelete}
	rights = append(rights, l.each(l.Snapshots, "cut off what newer ones replace", remove)...)
	for _, topic := range []func(string) string{l.Commands, l.Events, l.Completions} {
		for _, r := range l.each(topic, "cut off old history, with --keep-history", remove) {
			r.Optional = true
			rights = append(rights, r)
		}
	}
	const open = "see what a broker that was killed has left open, and end it"
	for _, r := range l.each(l.Completions, open, read) {
		r.Optional = true
		rights = append(rights, r)
	}
	return append(rights,
		Right{On: OnTopic, Name: l.DeadLetters(), Operations: read, Optional: true, For: open},
		Right{On: OnTopic, Name: l.Work(""), Prefixed: true, Operations: read, Optional: true, For: open},
		Right{On: OnTopic, Name: l.DeadLetters(), Operations: remove, Optional: true, For: "cut off old ones, with --keep-history"},
		Right{On: OnTopic, Name: l.Work(""), Prefixed: true, Operations: append(slices.Clone(write), kmsg.ACLOperationDescribeConfigs), For: "ask agents for work"},
		Right{On: OnTopic, Name: l.Work(""), Prefixed: true, Operations: []kadm.ACLOperation{kmsg.ACLOperationCreate}, Optional: true, For: "make the topics of new activity types; else topics create --type makes them"},
		Right{On: OnGroup, Name: l.Shards(), Operations: read, For: "who decides which shard"},
		Right{On: OnGroup, Name: l.Group("blobs"), Operations: read, For: "who removes which large values"},
		Right{On: OnGroup, Name: l.Group("machines"), Operations: read, Optional: true, For: "show how far commands are decided"},
		Right{On: OnTransactionalID, Name: l.name("shard-"), Prefixed: true, Operations: write, For: "write as the one owner of a shard"},
	)
}

func (l Log) agents() []Right {
	var rights []Right
	for _, a := range l.Askers {
		rights = append(rights, Right{On: OnTopic, Name: l.Commands(a), Operations: write, For: "report"})
	}
	rights = append(rights,
		Right{On: OnTopic, Name: l.Blobs(), Operations: readWrite, For: "large values"},
		Right{On: OnTopic, Name: l.DeadLetters(), Operations: write, For: "work that cannot be read"})
	for _, t := range l.ActivityTypes {
		rights = append(rights,
			Right{On: OnTopic, Name: l.Work(t), Operations: read, For: "take work"},
			Right{On: OnGroup, Name: l.Group("share", t), Operations: append(slices.Clone(read), kmsg.ACLOperationAlterConfigs), Optional: l.ConsumerGroup, For: "take work; not with --consumer-group"},
			Right{On: OnGroup, Name: l.Group("agents", t), Operations: read, Optional: !l.ConsumerGroup, For: "take work with --consumer-group, or before Kafka 4.2"})
	}
	return rights
}

// LackError says which rights are missing.
type LackError struct {
	Role    Role
	Missing []string // "Write on topic waybill.x.commands (report)"
}

// Error implements error.
func (e *LackError) Error() string {
	return fmt.Sprintf("the user of Kafka has too few rights for the role %s: missing is %s: `waybill topics acls --role %s` lists all it needs (docs/kafka.md)",
		e.Role, strings.Join(e.Missing, ", "), e.Role)
}

// NewProbe makes a client that only asks: whether brokers answer, and for CheckRights what we may do.
func (c Config) NewProbe() (*kgo.Client, error) {
	// From version 6 on the brokers do not say anything of groups that are not there yet.
	versions := kversion.Stable()
	versions.SetMaxKeyVersion(kmsg.DescribeGroups.Int16(), 5)
	return c.NewClient(kgo.MaxVersions(versions))
}

// CheckRights asks the brokers what we may do, and says what a role lacks: one error that names all,
// instead of one after the other where they are met. What cannot be asked for (transactional ids, what
// begins with a prefix) is met where it is used. Topics that are not there are no matter of rights.
func (l Log) CheckRights(ctx context.Context, cl *kgo.Client, role Role) error {
	rights := l.literal(role)
	may, err := allowed(ctx, cl, rights)
	if err != nil {
		return Explain(err)
	}
	lack := &LackError{Role: role}
	for _, r := range rights {
		for _, op := range r.Operations {
			if has, known := may[r.On+r.Name]; known && !slices.Contains(has, op) {
				lack.Missing = append(lack.Missing, fmt.Sprintf("%s on %s %s (%s)", operationName(op), r.On, r.Name, r.For))
			}
		}
	}
	if len(lack.Missing) == 0 {
		return nil
	}
	return lack
}

// CheckWrite says whether we may write to a topic, before a transaction fails of it.
func CheckWrite(ctx context.Context, cl *kgo.Client, topic string) error {
	may, err := allowed(ctx, cl, []Right{{On: OnTopic, Name: topic}})
	if has, known := may[OnTopic+topic]; err == nil && known && !slices.Contains(has, kmsg.ACLOperationWrite) {
		err = fmt.Errorf("write to topic %s: %w", topic, kerr.TopicAuthorizationFailed)
	}
	return Explain(err)
}

// literal are the rights to what has a name, and that nothing goes without.
func (l Log) literal(role Role) []Right {
	var rights []Right
	for _, r := range l.Rights(role) {
		switch {
		case r.Optional:
		case !r.Prefixed:
			rights = append(rights, r)
		case r.Name == l.Work(""):
			for _, t := range l.ActivityTypes {
				r.Name, r.Prefixed = l.Work(t), false
				rights = append(rights, r)
			}
		}
	}
	return rights
}

// allowed asks what we may do to each of what the rights are about; what is not in the answer is unknown.
func allowed(ctx context.Context, cl *kgo.Client, rights []Right) (map[string][]kadm.ACLOperation, error) {
	adm := kadm.NewClient(cl)
	var topics, groups []string
	for _, r := range rights {
		switch r.On {
		case OnTopic:
			topics = append(topics, r.Name)
		case OnGroup:
			groups = append(groups, r.Name)
		}
	}
	may := make(map[string][]kadm.ACLOperation)
	// Brokers that do not say it say nothing: whoever may describe something may do at least that.
	note := func(name string, has []kadm.ACLOperation, err error, denied *kerr.Error) {
		if err == nil && len(has) > 0 || errors.Is(err, denied) {
			may[name] = has
		}
	}
	req := kmsg.NewPtrMetadataRequest() // kadm answers nothing at all where one topic may not be seen
	req.IncludeTopicAuthorizedOperations = true
	for _, name := range topics {
		t := kmsg.NewMetadataRequestTopic()
		t.Topic = &name
		req.Topics = append(req.Topics, t)
	}
	cluster, err := req.RequestWith(ctx, cl)
	if err != nil {
		return nil, fmt.Errorf("list topics: %w", err)
	}
	if cluster.ClusterID != nil && *cluster.ClusterID == EmbeddedCluster {
		return nil, nil // it asks nobody, and knows fewer rights than there are
	}
	for _, t := range cluster.Topics {
		if t.Topic != nil {
			note(OnTopic+*t.Topic, kadm.DecodeACLOperations(t.AuthorizedOperations), kerr.ErrorForCode(t.ErrorCode), kerr.TopicAuthorizationFailed)
		}
	}
	if len(groups) == 0 {
		return may, nil
	}
	together, failed := adm.DescribeGroups(ctx, groups...)
	for _, name := range groups {
		details, err := together, failed
		if failed != nil { // one that may not be seen hides the others
			details, err = adm.DescribeGroups(ctx, name)
		}
		if err != nil && !errors.Is(err, kerr.GroupAuthorizationFailed) {
			return nil, fmt.Errorf("describe group %s: %w", name, err)
		}
		note(OnGroup+name, details[name].AuthorizedOperations, cmp.Or(err, details[name].Err), kerr.GroupAuthorizationFailed)
	}
	return may, nil
}

// Watch says whether brokers answer and the rights are still there, for readiness: the rights are asked
// for now and then only.
type Watch struct {
	Log    Log
	Roles  []Role
	Client *kgo.Client // of NewProbe

	mu   sync.Mutex
	at   time.Time
	last error
}

// rightsEvery is how often the rights are asked for at most.
const rightsEvery = 10 * time.Second

// Check is nil where all is well.
func (w *Watch) Check(ctx context.Context) error {
	if err := w.Client.Ping(ctx); err != nil {
		return Explain(err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if time.Since(w.at) < rightsEvery {
		return w.last
	}
	w.last = w.Rights(ctx)
	w.at = time.Now()
	return w.last
}

// Rights asks for the rights now.
func (w *Watch) Rights(ctx context.Context) error {
	for _, role := range w.Roles {
		if err := w.Log.CheckRights(ctx, w.Client, role); err != nil {
			return err
		}
	}
	return nil
}

// operationName is what Kafka's own tools call an operation: AlterConfigs.
func operationName(op kadm.ACLOperation) string {
	var b strings.Builder
	for _, word := range strings.Split(strings.ToLower(op.String()), "_") {
		b.WriteString(strings.ToUpper(word[:1]) + word[1:])
	}
	return b.String()
}

// Names are the operations as Kafka's own tools call them: Read,AlterConfigs.
func (r Right) Names() string {
	l := make([]string, len(r.Operations))
	for i, op := range r.Operations {
		l[i] = operationName(op)
	}
	return strings.Join(l, ",")
}

// Arguments are those of kafka-acls.
func (r Right) Arguments() string {
	var b strings.Builder
	for _, op := range r.Operations {
		b.WriteString("--operation " + operationName(op) + " ")
	}
	if r.Prefixed {
		b.WriteString("--resource-pattern-type prefixed ")
	}
	return b.String() + "--" + r.On + " " + r.Name
}
