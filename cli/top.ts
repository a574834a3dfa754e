import { setTimeout as delay } from 'node:timers/promises'
import { Command, InvalidArgumentError } from 'commander'
import type { FleetResponse } from '../shared/api/fleet.ts'
import { addEdgeOption, adminOf } from './access/admin-access.ts'
import { describeFailure } from './command/failure.ts'
import { print, printJson } from './command/output.ts'
import type { AdminClient } from './edge/admin-client.ts'
import { renderFrame } from './top/frame.ts'
import { openScreen } from './top/screen.ts'

interface TopOptions {
  readonly once?: true
  readonly json?: true
  readonly interval: number
}

export function topCommand(): Command {
  return addEdgeOption(new Command('top'))
    .description('the fleet, live: nodes, load, resident adapters, tokens/s, time to first token')
    .option('--once', 'show it once and end; so does output that is no terminal')
    .option('--json', 'show it once, as JSON')
    .option('--interval <seconds>', 'time between two looks, 0.2 to 60', parseSeconds, 1)
    .action(async ({ interval, json, once }: TopOptions, command: Command) => {
      const admin = await adminOf(command)
      if (json) return printJson(await admin.fleet())
      if (once || !process.stdout.isTTY) return showOnce(admin)
      await watch(admin, interval * 1000)
    })
}

function parseSeconds(text: string): number {
  const seconds = Number(text)
  if (!(seconds >= 0.2 && seconds <= 60)) throw new InvalidArgumentError('It is a number from 0.2 to 60.')
  return seconds
}

async function showOnce(admin: AdminClient): Promise<void> {
  const color = process.stdout.isTTY && usesColor()
  const frame = { edge: admin.edge, width: Infinity, height: Infinity, color }
  for (const line of renderFrame({ ...frame, fleet: await admin.fleet() })) print(line)
}

/** Looks again and again until the user leaves. A look that fails leaves the last one standing, and says so. */
async function watch(admin: AdminClient, intervalMs: number): Promise<void> {
  let fleet = await admin.fleet()
  let problem: string | undefined
  using screen = openScreen({ input: process.stdin, output: process.stdout })
  const draw = () =>
    screen.draw(renderFrame({ fleet, edge: admin.edge, problem, color: usesColor(), ...screen.size }))
  screen.onResize(draw)
  let isOver = false
  const leaving = screen.left.then(() => {
    isOver = true
  })
  draw()
  while (!isOver) {
    await Promise.race([delay(intervalMs), leaving])
    if (isOver) break
    const looked: { fleet: FleetResponse } | { problem: string } | undefined = await Promise.race([
      admin.fleet().then(
        (next) => ({ fleet: next }),
        (error: unknown) => ({ problem: describeFailure(error) }),
      ),
      leaving.then(() => undefined),
    ])
    if (looked === undefined) break
    if ('fleet' in looked) fleet = looked.fleet
    problem = 'problem' in looked ? looked.problem : undefined
    draw()
  }
}

/** https://no-color.org */
const usesColor = () => (process.env.NO_COLOR ?? '') === ''
