package orchestration

// Former names, until their users have gone over.
const (
	Initial        = PhaseInitial
	InProgress     = PhaseInProgress
	TransfersDone  = PhaseTransfersFinished
	OrchCompleted  = PhaseCompleted
	OrchError      = PhaseError
	OrchCancelled  = PhaseCancelled
	Pending        = ActivityPending
	Ready          = ActivityReady
	Running        = ActivityRunning
	Waiting        = ActivityWaiting
	ScheduledAgain = ActivityScheduled
	RetryingLater  = ActivityRetrying
	Skipped        = ActivitySkipped
)
