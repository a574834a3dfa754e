import { setTimeout as delay } from 'node:timers/promises'
import { QuartetError } from '../shared/errors.ts'
import { describeSettings, readConfig } from './config.ts'
import { type NodeParts, startNode } from './node.ts'
import { failureText, logToStdout } from './server/log.ts'

/** How long a node that has lost its device takes to end its requests and to tell the edge what they used. */
const lossGraceMs = 3000

/**
 * Runs a node as this process: settings in, JSON lines out; SIGTERM or SIGINT drains it, a second one ends it at once. It ends
 * by itself, with status 1, when its device is lost, so that a supervisor starts it again.
 */
export async function runNode(
  args: readonly string[],
  env: Readonly<Record<string, string | undefined>> = process.env,
  parts: Pick<NodeParts, 'openModel'> = {},
): Promise<void> {
  if (args.includes('--help')) {
    process.stdout.write(`${describeSettings()}\n`)
    return
  }
  try {
    const config = readConfig(args, env)
    process.stderr.on('error', () => {})
    const { dropped: droppedLines, log } = logToStdout(config.logLevel)
    // A node that is still being started serves nobody.
    let close = async (): Promise<void> => {}
    for (const signal of ['SIGTERM', 'SIGINT'] as const)
      process.once(signal, () => {
        process.once(signal, () => process.exit(1))
        close().then(() => process.exit(0), fail)
      })
    const node = await startNode(config, { log, droppedLines, ...parts })
    close = node.close
    node.lost
      .then(async () => {
        // A device that is lost may never let its memory go.
        await Promise.race([node.close(), delay(lossGraceMs)])
        throw new QuartetError('node_error', `--device ${config.device} was lost; start the node again`)
      })
      .catch(fail)
    await node.ready
  } catch (error) {
    fail(error)
  }
}

function fail(error: unknown): never {
  process.stderr.write(`quartet node: ${failureText(error)}\n`)
  process.exit(1)
}
