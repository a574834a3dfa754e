import { runNode } from './run.ts'

await runNode(process.argv.slice(2))
