// Drives the stand-in exchange with @nktkas/hyperliquid, and prints as JSON what came of it.
// usage: node hyperliquid_nktkas.mjs FOLDER ADDRESS KEY   (FOLDER holds node_modules)
import { createRequire } from "node:module";

const [folder, apiUrl, key] = process.argv.slice(2);
const require = createRequire(`${folder}/`);
const { ExchangeClient, HttpTransport, InfoClient } = require("@nktkas/hyperliquid");
const { privateKeyToAccount } = require("viem/accounts");

const wallet = privateKeyToAccount(key);
const transport = new HttpTransport({ apiUrl });
const info = new InfoClient({ transport });
const exchange = new ExchangeClient({ transport, wallet });
const user = wallet.address;

const order = { a: 0, b: true, p: "50000", s: "0.001", r: false, t: { limit: { tif: "Gtc" } } };
const cloid = "0x" + "07".repeat(16);
const [first, second] = (await exchange.order({ orders: [order, { ...order, c: cloid }], grouping: "na" }))
  .response.data.statuses;
const resting = await info.openOrders({ user });
const cancelled = await exchange.cancel({ cancels: [{ a: 0, o: first.resting.oid }] });
const byCloid = await exchange.cancelByCloid({ cancels: [{ asset: 0, cloid }] });
const agent = "0x" + "ab".repeat(20);
const approved = await exchange.approveAgent({ agentAddress: agent, agentName: "runner" });

console.log(JSON.stringify({
  resting: resting.length,
  cancelled: cancelled.response.data.statuses,
  byCloid: [byCloid.response.type, byCloid.response.data.statuses],
  cloid: second.resting.cloid === cloid,
  history: (await info.historicalOrders({ user })).map((update) => update.status),
  approved: approved.status,
  agents: (await info.extraAgents({ user })).map((one) => one.address),
  dexes: (await info.perpDexs()).map((dex) => dex && dex.name),
  state: typeof (await info.clearinghouseState({ user, dex: "xyz" })).time,
  candles: (await info.candleSnapshot({ coin: "BTC", interval: "1h", startTime: Date.now() - 7_200_000 })).length,
}));
