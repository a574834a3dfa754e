import { Command } from 'commander'
import { describeSettings, givenSettings } from '../gpu-node/config.ts'
import { note } from './command/output.ts'
import { homeOf } from './command/settings.ts'
import { homeAt } from './local/home.ts'
import { joinLocalEdge } from './local/join-local-edge.ts'

/**
 * `quartet node start`: the node reads its own flags and environment (`gpu-node/config.ts`). Where those name neither
 * secret nor edge, it joins the stack that has run on the local home.
 */
export function nodeCommand(): Command {
  const node = new Command('node').description('a node: one backbone, many adapters')

  node
    .command('start')
    .description('run a node in the foreground until SIGTERM or Ctrl-C; in a local home it joins that edge')
    .allowUnknownOption()
    .allowExcessArguments()
    .argument('[settings...]')
    .addHelpText('after', () => `\n${describeSettings()}`)
    .action(async (settings: string[], _options: unknown, command: Command) => {
      const home = homeAt(homeOf(command))
      const local = await joinLocalEdge(home, givenSettings(settings, process.env))
      if (local !== undefined)
        note(`joining the local edge ${local.edge}, with the secret in ${home.secrets}`)
      const { runNode } = await import('../gpu-node/run.ts')
      await runNode(settings, {
        ...process.env,
        ...(local && { QUARTET_EDGE_URL: local.edge, QUARTET_NODE_SECRET: local.secret }),
      })
    })

  return node
}
