import { type Command, Option } from 'commander'
import { z } from 'zod'
import { type AdminClient, adminClient } from './admin-client.ts'
import { CliFailure } from './failure.ts'
import { homeAt } from './local/home.ts'
import { readLocalState } from './local/local-state.ts'
import { readLocalSecrets } from './local/secrets.ts'
import { homeOf } from './settings.ts'

const AccessOptions = z.object({ edge: z.url().optional() })

/** Gives a command the `--edge` option that `adminOf` reads. */
export function addEdgeOption(command: Command): Command {
  return command.addOption(
    new Option('--edge <url>', 'the edge to talk to (default: the local one)').env('QUARTET_EDGE_URL'),
  )
}

/** The edge that a command's options and environment point to; without any, that of the local stack. */
export async function edgeOf(command: Command): Promise<string> {
  const { edge } = AccessOptions.parse(command.opts())
  if (edge !== undefined) return new URL(edge).origin
  const folder = homeOf(command)
  const state = await readLocalState(homeAt(folder))
  if (state !== undefined) return state.edge
  throw new CliFailure(`no local stack has run on ${folder}`, {
    remedy: 'run quartet start, or name an edge with --edge',
  })
}

/** The admin API that a command's options and environment point to; without any, that of the local stack. */
export async function adminOf(command: Command): Promise<AdminClient> {
  const home = homeAt(homeOf(command))
  const { edge } = AccessOptions.parse(command.opts())
  const adminKey = process.env.QUARTET_ADMIN_KEY
  if (edge !== undefined) {
    if (adminKey === undefined)
      throw new CliFailure(`the admin key of ${edge} is not known`, {
        remedy: 'set QUARTET_ADMIN_KEY (an option would show it to every user of this machine)',
      })
    return adminClient({ edge: new URL(edge).origin, adminKey })
  }
  const state = await readLocalState(home)
  const secrets = await readLocalSecrets(home)
  if (state === undefined || secrets === undefined)
    throw new CliFailure(`no local stack has run on ${home.folder}`, {
      remedy: 'run quartet start, or name an edge with --edge and QUARTET_ADMIN_KEY',
    })
  return adminClient({ edge: state.edge, adminKey: adminKey ?? secrets.adminKey })
}
