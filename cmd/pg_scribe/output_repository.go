package main

import "pg_scribe/catalog"

// repositoryJSON is a repository as status sees it.
type repositoryJSON struct {
	Directory string `json:"directory"`
	ofJSON
	contentsJSON
	StreamerRunning bool       `json:"streamer_running"`
	LastError       *errorJSON `json:"last_error"` // of the streamer; null: there was none
	damageJSON
	Disk         *diskJSON      `json:"disk"`
	Spool        string         `json:"spool_directory"` // empty: the directory itself
	SpoolDisk    *diskJSON      `json:"spool_disk"`
	Verification *verifiedJSON  `json:"verification"` // the last run of verify; null: there was none
	Rehearsal    *rehearsedJSON `json:"rehearsal"`    // the last run of rehearse; null: there was none
	Storages     []storageJSON  `json:"targets"`      // empty when they are read themselves
}

// ofJSON is what a repository is a backup of, and how.
type ofJSON struct {
	SystemID      string `json:"system_id"`
	Timeline      uint32 `json:"timeline"`
	Database      string `json:"database"`
	ServerVersion string `json:"server_version"`
	Slot          string `json:"slot"`
	Publication   string `json:"publication"`
	Mode          string `json:"mode"`
	Compression   string `json:"compression"`
	CreatedAt     moment `json:"created_at"`
}

// contentsJSON is what a repository holds, and how far it reaches.
type contentsJSON struct {
	Bases             groupJSON    `json:"bases"`
	Globals           groupJSON    `json:"globals"`
	Segments          groupJSON    `json:"segments"`
	Points            int          `json:"points"`
	Transactions      int64        `json:"transactions"`
	Holes             []holeJSON   `json:"holes"`
	Gaps              []gapJSON    `json:"gaps"`
	Windows           []windowJSON `json:"windows"`
	LastTransactionAt moment       `json:"last_transaction_at"`
	EndLSN            catalog.LSN  `json:"end_lsn"`
	ReachedAt         moment       `json:"reached_at"`
	FreshnessSeconds  *float64     `json:"freshness_seconds"`
}

// damageJSON is what is wrong with its files.
type damageJSON struct {
	Missing []string `json:"missing_files"`
	Damaged []string `json:"damaged_files"` // of another size than recorded
	Failed  []string `json:"failed_files"`  // that verify found damaged when it last read them
	Unseen  []string `json:"unseen_files"`  // that this user cannot read

	unread int // files that verify has not read
}
