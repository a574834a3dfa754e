import { describeSettings, readConfig } from './config.ts'
import { startNode } from './node.ts'
import { failureText, logToStdout } from './server/log.ts'

/** Runs a node as this process: settings in, JSON lines out; SIGTERM or SIGINT drains it, a second one ends it at once. */
export async function runNode(
  args: readonly string[],
  env: Readonly<Record<string, string | undefined>> = process.env,
): Promise<void> {
  if (args.includes('--help')) {
    process.stdout.write(`${describeSettings()}\n`)
    return
  }
  try {
    const config = readConfig(args, env)
    process.stderr.on('error', () => {})
    const { dropped: droppedLines, log } = logToStdout(config.logLevel)
    const node = await startNode(config, { log, droppedLines })
    for (const signal of ['SIGTERM', 'SIGINT'] as const)
      process.once(signal, () => {
        process.once(signal, () => process.exit(1))
        node.close().then(() => process.exit(0), fail)
      })
    await node.ready
  } catch (error) {
    fail(error)
  }
}

function fail(error: unknown): never {
  process.stderr.write(`quartet node: ${failureText(error)}\n`)
  process.exit(1)
}
