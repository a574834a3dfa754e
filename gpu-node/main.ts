import { setFlagsFromString } from 'node:v8'
import { runNode } from './run.ts'

// Rows of prompts that are kept lie outside V8's heap, and count as its growth: with its own factor it would collect all of its
// small heap about twice a second under load, for 30 ms each.
setFlagsFromString('--heap-growing-percent=400')

await runNode(process.argv.slice(2))
