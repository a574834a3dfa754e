import { type Command, InvalidArgumentError, Option } from 'commander'
import { z } from 'zod'
import { CliFailure } from '../command/failure.ts'
import { homeOf } from '../command/settings.ts'
import { type AdminClient, adminClient } from '../edge/admin-client.ts'
import { homeAt } from '../local/home.ts'
import { readLocalState } from '../local/local-state.ts'
import { readLocalSecrets } from '../local/secrets.ts'

const AccessOptions = z.object({ edge: z.url().optional() })

/** An edge's origin. Without its scheme, `localhost:8787` would be a URL of the scheme `localhost`. */
export function parseEdge(text: string): string {
  const url = URL.parse(text)
  if (url?.protocol === 'http:' || url?.protocol === 'https:') return url.origin
  throw new InvalidArgumentError(
    URL.canParse(`http://${text}`)
      ? `It must be a URL: write http://${text} or https://${text}.`
      : 'It must be a URL like https://quartet.example.com.',
  )
}

/** Gives a command the `--edge` option that `adminOf` reads. */
export function addEdgeOption(command: Command): Command {
  return command.addOption(
    new Option('--edge <url>', 'the edge to talk to (default: the local one)')
      .env('QUARTET_EDGE_URL')
      .argParser(parseEdge),
  )
}

/** The edge that a command's options and environment point to; without any, that of the local stack. */
export async function edgeOf(command: Command): Promise<string> {
  const { edge } = AccessOptions.parse(command.opts())
  if (edge !== undefined) return edge
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
  const state = await readLocalState(home)
  const secrets = await readLocalSecrets(home)
  if (edge !== undefined && edge !== state?.edge) {
    if (adminKey === undefined)
      throw new CliFailure(`the admin key of ${edge} is not known`, {
        remedy: 'set QUARTET_ADMIN_KEY (an option would show it to every user of this machine)',
      })
    return adminClient({ edge, adminKey })
  }
  if (state === undefined || secrets === undefined)
    throw new CliFailure(`no local stack has run on ${home.folder}`, {
      remedy: 'run quartet start, or name an edge with --edge and QUARTET_ADMIN_KEY',
    })
  return adminClient({ edge: state.edge, adminKey: adminKey ?? secrets.adminKey })
}
