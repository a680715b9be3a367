package schemas

import "slices"

// Wire names of the commands: ce_type of the records on the commands topics.
const (
	OrchestrationStart   = "orchestration.start.v1"
	OrchestrationCancel  = "orchestration.cancel.v1"
	OrchestrationPause   = "orchestration.pause.v1"
	OrchestrationResume  = "orchestration.resume.v1"
	OrchestrationRerun   = "orchestration.rerun.v1"
	OrchestrationDispose = "orchestration.dispose.v1"
	ActivityRetry        = "activity.retry.v1"
	ActivitySkip         = "activity.skip.v1"
	ActivityComplete     = "activity.complete.v1"
	ActivityFail         = "activity.fail.v1"
	ActivityPause        = "activity.pause.v1"
	ActivityResume       = "activity.resume.v1"
	WorkComplete         = "work.complete.v1"
	WorkWait             = "work.wait.v1"
	WorkSchedule         = "work.schedule.v1"
	WorkRetry            = "work.retry.v1"
	WorkFail             = "work.fail.v1"
	WorkHeartbeat        = "work.heartbeat.v1"
	WorkRelease          = "work.release.v1"
	DefinitionPut        = "definition.put.v1"
	DefinitionDelete     = "definition.delete.v1"

	TransferInitiate              = "transfer.initiate.v1"
	TransferSuspend               = "transfer.suspend.v1"
	TransferResume                = "transfer.resume.v1"
	TransferTerminate             = "transfer.terminate.v1"
	TransferDeprovision           = "transfer.deprovision.v1"
	TransferGranted               = "transfer.granted.v1"
	TransferRefused               = "transfer.refused.v1"
	TransferObserved              = "transfer.observed.v1"
	TransferProvisioned           = "transfer.provisioned.v1"
	TransferUploaded              = "transfer.uploaded.v1"
	TransferResourceDeprovisioned = "transfer.resource-deprovisioned.v1"

	NegotiationAcquire  = "negotiation.acquire.v1"
	NegotiationRelease  = "negotiation.release.v1"
	NegotiationObserved = "negotiation.observed.v1"
)

// Wire names of the events. DefinitionChanged is also the name of the records on the
// compacted definitions topic.
const (
	OrchestrationStarted      = "orchestration.started.v1"
	ActivityRequested         = "activity.requested.v1"
	ActivityOffered           = "activity.offered.v1"
	ActivityClaimed           = "activity.claimed.v1"
	ActivityExtended          = "activity.extended.v1"
	ActivityWaited            = "activity.waited.v1"
	ActivityScheduled         = "activity.scheduled.v1"
	ActivityRetrying          = "activity.retrying.v1"
	ActivityCompleted         = "activity.completed.v1"
	ActivityFailed            = "activity.failed.v1"
	ActivitySkipped           = "activity.skipped.v1"
	ActivityPaused            = "activity.paused.v1"
	ActivityResumed           = "activity.resumed.v1"
	OrchestrationPaused       = "orchestration.paused.v1"
	OrchestrationResumed      = "orchestration.resumed.v1"
	TransfersFinished         = "orchestration.transfers-finished.v1"
	OrchestrationEnded        = "orchestration.ended.v1"
	OrchestrationCompensating = "orchestration.compensating.v1"
	OrchestrationRerunStarted = "orchestration.rerun-started.v1"
	OrchestrationDisposed     = "orchestration.disposed.v1"
	BlobsRemoved              = "orchestration.blobs-removed.v1"
	DefinitionChanged         = "definition.changed.v1"
	DefinitionDeleted         = "definition.deleted.v1"

	TransferInitiated           = "transfer.initiated.v1"
	TransferMoved               = "transfer.moved.v1"
	TransferResourceProvisioned = "transfer.resource-provisioned.v1"
	TransferResourceUploaded    = "transfer.resource-uploaded.v1"
	TransferResourceFreed       = "transfer.resource-freed.v1"
	TransferAcquiring           = "transfer.acquiring.v1"
	TransferAccessGranted       = "transfer.access-granted.v1"
	TransferAccessLost          = "transfer.access-lost.v1"
	TransferRequested           = "transfer.requested.v1"
	TransferEnded               = "transfer.ended.v1"

	NegotiationJoined           = "negotiation.joined.v1"
	NegotiationListed           = "negotiation.listed.v1"
	NegotiationServed           = "negotiation.served.v1"
	NegotiationFailed           = "negotiation.failed.v1"
	NegotiationAnswered         = "negotiation.answered.v1"
	NegotiationLeft             = "negotiation.left.v1"
	NegotiationCatalogRequested = "negotiation.catalog-requested.v1"
	NegotiationCatalogReceived  = "negotiation.catalog-received.v1"
	NegotiationCatalogFailed    = "negotiation.catalog-failed.v1"
	NegotiationStarted          = "negotiation.started.v1"
	NegotiationMoved            = "negotiation.moved.v1"
	NegotiationAgreementDead    = "negotiation.agreement-dead.v1"
	NegotiationEDRRequested     = "negotiation.edr-requested.v1"
	NegotiationEDRGranted       = "negotiation.edr-granted.v1"
	NegotiationEDRDead          = "negotiation.edr-dead.v1"
	NegotiationEvicted          = "negotiation.evicted.v1"
)

// Wire names of the events about a piece of work that a transfer or a negotiation has asked
// agents for.
const (
	TaskRequested = "task.requested.v1"
	TaskAttempted = "task.attempted.v1"
	TaskOffered   = "task.offered.v1"
	TaskClaimed   = "task.claimed.v1"
	TaskExtended  = "task.extended.v1"
	TaskWaited    = "task.waited.v1"
	TaskScheduled = "task.scheduled.v1"
	TaskRetrying  = "task.retrying.v1"
	TaskNudged    = "task.nudged.v1"
	TaskEnded     = "task.ended.v1"
)

// Wire names of what stands on the completions topics: ends and refusals.
const (
	OrchestrationCompleted = "orchestration.completed.v1"
	OrchestrationFailed    = "orchestration.failed.v1"
	OrchestrationCancelled = "orchestration.cancelled.v1"
	CommandRejected        = "command.rejected.v1"

	TransferCompleted     = "transfer.completed.v1"
	TransferTerminated    = "transfer.terminated.v1"
	TransferDeprovisioned = "transfer.deprovisioned.v1"

	NegotiationFinalized  = "negotiation.finalized.v1"
	NegotiationTerminated = "negotiation.terminated.v1"
	NegotiationGranted    = "negotiation.granted.v1"
	NegotiationRefused    = "negotiation.refused.v1"
)

// Wire names of the records on the work topics.
const (
	WorkRequested = "work.requested.v1"
	WorkCancelled = "work.cancelled.v1"
)

// Aggregate types: the middle of a topic's name.
const (
	AggregateOrchestration = "orchestration"
	AggregateDefinition    = "definition"
	AggregateTransfer      = "transfer"
	AggregateNegotiation   = "negotiation"
)

// OrchestrationCommands lists the wire names of the commands that an orchestration takes.
func OrchestrationCommands() []string {
	return []string{
		OrchestrationStart, OrchestrationCancel, OrchestrationPause, OrchestrationResume, OrchestrationRerun, OrchestrationDispose,
		ActivityRetry, ActivitySkip, ActivityComplete, ActivityFail, ActivityPause, ActivityResume,
		WorkComplete, WorkWait, WorkSchedule, WorkRetry, WorkFail, WorkHeartbeat, WorkRelease,
	}
}

// TransferCommands lists the wire names of the commands that a transfer takes beside the reports
// about its work.
func TransferCommands() []string {
	return []string{
		TransferInitiate, TransferSuspend, TransferResume, TransferTerminate, TransferDeprovision,
		TransferGranted, TransferRefused, TransferObserved, TransferProvisioned, TransferUploaded, TransferResourceDeprovisioned,
	}
}

// NegotiationCommands lists the wire names of the commands that a negotiation takes beside the
// reports about its work.
func NegotiationCommands() []string {
	return []string{NegotiationAcquire, NegotiationRelease, NegotiationObserved}
}

// WorkReports lists the wire names of the reports of agents, which whatever asks for work takes.
func WorkReports() []string {
	return []string{WorkComplete, WorkWait, WorkSchedule, WorkRetry, WorkFail, WorkHeartbeat, WorkRelease}
}

// DefinitionCommands lists the wire names of the commands that a definition takes.
func DefinitionCommands() []string { return []string{DefinitionPut, DefinitionDelete} }

// OrchestrationEvents lists the wire names of an orchestration's events.
func OrchestrationEvents() []string {
	return []string{
		OrchestrationStarted,
		ActivityRequested, ActivityOffered, ActivityClaimed, ActivityExtended, ActivityWaited,
		ActivityScheduled, ActivityRetrying, ActivityCompleted, ActivityFailed,
		ActivitySkipped, ActivityPaused, ActivityResumed, OrchestrationPaused, OrchestrationResumed,
		TransfersFinished, OrchestrationCompensating, OrchestrationEnded, OrchestrationRerunStarted, OrchestrationDisposed, BlobsRemoved,
	}
}

// TransferEvents lists the wire names of a transfer's events beside those of its work.
func TransferEvents() []string {
	return []string{
		TransferInitiated, TransferMoved, TransferResourceProvisioned, TransferResourceUploaded, TransferResourceFreed,
		TransferAcquiring, TransferAccessGranted, TransferAccessLost, TransferRequested, TransferEnded,
	}
}

// NegotiationEvents lists the wire names of a negotiation's events beside those of its work.
func NegotiationEvents() []string {
	return []string{
		NegotiationJoined, NegotiationListed, NegotiationServed, NegotiationFailed, NegotiationAnswered, NegotiationLeft,
		NegotiationCatalogRequested, NegotiationCatalogReceived, NegotiationCatalogFailed, NegotiationStarted, NegotiationMoved,
		NegotiationAgreementDead, NegotiationEDRRequested, NegotiationEDRGranted, NegotiationEDRDead, NegotiationEvicted,
	}
}

// TaskEvents lists the wire names of the events about a transfer's or a negotiation's work.
func TaskEvents() []string {
	return []string{
		TaskRequested, TaskAttempted, TaskOffered, TaskClaimed, TaskExtended,
		TaskWaited, TaskScheduled, TaskRetrying, TaskNudged, TaskEnded,
	}
}

// DefinitionEvents lists the wire names of a definition's events.
func DefinitionEvents() []string { return []string{DefinitionChanged, DefinitionDeleted} }

// Completions lists the wire names of what stands on the completions topics.
func Completions() []string {
	return append(slices.Concat(OrchestrationCompletions(), TransferCompletions(), NegotiationCompletions()), CommandRejected)
}

// OrchestrationCompletions lists the wire names of how a run of an orchestration ends.
func OrchestrationCompletions() []string {
	return []string{OrchestrationCompleted, OrchestrationFailed, OrchestrationCancelled}
}

// TransferCompletions lists the wire names of how a transfer ends.
func TransferCompletions() []string {
	return []string{TransferCompleted, TransferTerminated, TransferDeprovisioned}
}

// NegotiationCompletions lists the wire names of how a round ends, and of how a wish for access is
// answered.
func NegotiationCompletions() []string {
	return []string{NegotiationFinalized, NegotiationTerminated, NegotiationGranted, NegotiationRefused}
}

// WorkRecords lists the wire names of what stands on the work topics.
func WorkRecords() []string { return []string{WorkRequested, WorkCancelled} }

// BookRecords lists the wire names of a shard's books.
func BookRecords() []string { return []string{ShardPosition, ShardOwned, ShardCheckpoint} }

// Names lists every wire name this build writes and reads.
func Names() []string {
	var all []string
	for _, l := range [][]string{
		OrchestrationCommands(), DefinitionCommands(), TransferCommands(), NegotiationCommands(),
		OrchestrationEvents(), DefinitionEvents(), TransferEvents(), NegotiationEvents(), TaskEvents(),
		Completions(), WorkRecords(), BookRecords(),
	} {
		all = append(all, l...)
	}
	return all
}
