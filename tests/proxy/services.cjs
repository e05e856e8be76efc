// JupyterLab's own client, @jupyterlab/services, through the proxy. Arguments: base URL, token.
// Prints a line of JSON for each thing that it did.
const { ServerConnection, KernelManager, KernelSpecManager, SessionManager } = require('@jupyterlab/services');

const [, , baseUrl, token] = process.argv;
const say = (what, value) => console.log(JSON.stringify([what, value]));
const serverSettings = ServerConnection.makeSettings({ baseUrl, wsUrl: baseUrl.replace(/^http/, 'ws'), token, appendToken: true });

async function run(kernel, code, onStdin) {
  const future = kernel.requestExecute({ code, allow_stdin: !!onStdin });
  let text = '';
  future.onIOPub = message => {
    if (message.header.msg_type === 'stream') text += message.content.text;
    if (message.header.msg_type === 'execute_result') text += message.content.data['text/plain'];
  };
  if (onStdin) future.onStdin = () => kernel.sendInputReply({ value: onStdin, status: 'ok' }, future.msg.header);
  const reply = await future.done;
  return [reply.content.status, text];
}

const bytes = view => Buffer.from(view.buffer || view, view.byteOffset || 0, view.byteLength).toString('hex');

async function main() {
  const specs = new KernelSpecManager({ serverSettings });
  await specs.ready;
  say('default', specs.specs.default);
  say('logo', specs.specs.kernelspecs.python3.resources['logo-64x64']);
  const kernels = new KernelManager({ serverSettings });
  const sessions = new SessionManager({ serverSettings, kernelManager: kernels });
  await sessions.ready;
  const session = await sessions.startNew({ path: 'n.ipynb', name: 'n', type: 'notebook', kernel: { name: 'python3' } });
  const kernel = session.kernel;
  say('protocol', kernel.connectionStatus);
  say('execute', await run(kernel, 'print("out"); 6 * 7'));
  say('stdin', await run(kernel, 'print("hello " + input())', 'ada'));

  const comm = new Promise(resolve => {
    kernel.registerCommTarget('t', (comm, open) => {
      comm.onMsg = message => resolve([bytes(open.buffers[0]), bytes(message.buffers[0])]);
      comm.send({}, undefined, [new Uint8Array([1, 2, 255]).buffer]);
    });
  });
  await run(kernel, [
    'from ipykernel.comm import Comm',
    "c = Comm(target_name='t', buffers=[b'\\x00\\xfe'])",
    '@c.on_msg',
    'def _(m):',
    "    c.send({}, buffers=[bytes(m['buffers'][0])[::-1]])"
  ].join('\n'));
  say('comm', await comm);

  await session.setPath('m.ipynb');
  await sessions.refreshRunning();
  say('path', [...sessions.running()].map(each => each.path));
  // A comm asked for a subshell by itself; a restart before the answer rejects a promise of the library's that nobody awaits.
  // What is asked on the same channel is answered after it.
  await kernel.requestCreateSubshell({}).done;
  await kernel.restart();
  await kernel.info;
  say('restart', await run(kernel, '"c" in dir()'));
  await kernel.reconnect();
  say('reconnect', await run(kernel, '1 + 1'));
  const endless = kernel.requestExecute({ code: 'import time\nprint("go")\nwhile True: time.sleep(0.01)' });
  await new Promise(resolve => {
    endless.onIOPub = message => message.header.msg_type === 'stream' && resolve();
  });
  await kernel.interrupt();
  say('interrupt', (await endless.done).content.status);
  await session.shutdown();
  await kernels.refreshRunning();
  say('running', [...kernels.running()].length);
  say('done', true);
  process.exit(0);
}

main().catch(error => {
  console.log(JSON.stringify(['error', String(error && error.stack)]));
  process.exit(1);
});
