"""Reading snapshots back: restoring trees and verifying that every byte can still be read."""
