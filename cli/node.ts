import { Command } from 'commander'
import { describeSettings, givenSettings } from '../gpu-node/config.ts'
import { note, print } from './command/output.ts'
import { homeOf } from './command/settings.ts'
import { homeAt } from './local/home.ts'
import { joinLocalEdge } from './local/join-local-edge.ts'
import { supervised } from './supervised.ts'

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

  const setup = new Command('setup').description('what a device needs beside the npm packages')
  setup
    .command('cuda')
    .description('get ONNX Runtime’s CUDA libraries (250 MB, from the Python package index)')
    .action(async () => {
      const { setUpCuda } = await import('../model/import/cuda-provider.ts')
      const { missingForCuda } = await import('../model/runtime/ort/cuda.ts')
      print(await supervised((supervision) => setUpCuda(supervision)))
      for (const lacking of missingForCuda()) note(`a node cannot use CUDA on this machine yet: ${lacking}`)
    })
  node.addCommand(setup)

  return node
}
