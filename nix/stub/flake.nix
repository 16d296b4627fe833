# Stands in for nixpkgs where it cannot be downloaded: enough of its shape to evaluate this
# repository's flake (`nix flake check --no-build`), and nothing that could be built.
{
  description = "A stub with the few names of nixpkgs that this repository's flake uses";
  outputs = { self }:
    let
      systems = [ "x86_64-linux" "aarch64-linux" "x86_64-darwin" "aarch64-darwin" ];
      stub = system:
        let
          named = name: derivation { inherit name system; builder = "/bin/sh"; args = [ "-c" "exit 1" ]; };
          make = attrs: named (attrs.name or attrs.pname or "stub") // {
            meta = attrs.meta or { };
            overrideAttrs = change: make (attrs // change attrs);
          };
        in
        rec {
          cargo = named "cargo";
          cargo-deny = named "cargo-deny";
          clippy = named "clippy";
          git = named "git";
          pkg-config = named "pkg-config";
          rustc = named "rustc";
          rustfmt = named "rustfmt";
          tmux = named "tmux";
          mkShell = attrs: make ({ name = "shell"; } // attrs);
          rustPlatform.buildRustPackage = make;
        };
      each = make: builtins.listToAttrs (map (system: { name = system; value = make system; }) systems);
    in
    {
      legacyPackages = each stub;
      lib = {
        genAttrs = names: make: builtins.listToAttrs (map (name: { inherit name; value = make name; }) names);
        licenses = { mit = "mit"; asl20 = "asl20"; };
        platforms.unix = systems;
        fileset = {
          toSource = { root, fileset }: root;
          unions = parts: parts;
          maybeMissing = part: part;
        };
      };
    };
}
