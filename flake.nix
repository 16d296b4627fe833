{
  description = "ao: keeps a fleet of AI coding agents alive, paced and coordinated in ordinary tmux sessions";

  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-26.05";

  outputs = { self, nixpkgs }:
    let
      inherit (nixpkgs) lib;
      systems = [ "x86_64-linux" "aarch64-linux" "x86_64-darwin" "aarch64-darwin" ];
      each = make: lib.genAttrs systems (system: make nixpkgs.legacyPackages.${system});
      version = (builtins.fromTOML (builtins.readFile ./Cargo.toml)).package.version;

      package = pkgs: pkgs.rustPlatform.buildRustPackage {
        pname = "ao";
        inherit version;
        src = lib.fileset.toSource {
          root = ./.;
          fileset = lib.fileset.unions (
            [ ./Cargo.toml ./Cargo.lock ./clippy.toml ./rustfmt.toml ./ao ./src ./tests ]
            ++ map lib.fileset.maybeMissing [ ./benches ./build.rs ./prompts ./policies ./schema ./docs ./agents.example.toml ./README.md ]
          );
        };
        cargoLock.lockFile = ./Cargo.lock;
        nativeBuildInputs = [ pkgs.pkg-config ];
        nativeCheckInputs = [ pkgs.tmux pkgs.git ];
        meta = {
          description = "Keeps a fleet of AI coding agents alive in tmux";
          license = [ lib.licenses.mit lib.licenses.asl20 ];
          mainProgram = "ao";
          platforms = lib.platforms.unix;
        };
      };

      # The package with its build replaced by one check; it installs nothing.
      only = pkgs: name: tool: command: (package pkgs).overrideAttrs (old: {
        pname = "ao-${name}";
        nativeBuildInputs = (old.nativeBuildInputs or [ ]) ++ [ tool ];
        buildPhase = command;
        doCheck = false;
        installPhase = "mkdir -p $out";
      });
    in
    {
      packages = each (pkgs: { default = package pkgs; });

      devShells = each (pkgs: {
        default = pkgs.mkShell {
          packages = with pkgs; [ rustc cargo clippy rustfmt tmux git pkg-config cargo-deny ];
          shellHook = ''
            echo "ao: Rust, tmux and git are here; ./test.sh runs the tests, ./ao --help shows the verbs."
            echo "    The agents' own CLIs (claude, opencode, codex, gemini) are not part of this shell:"
            echo "    install those you use by their own docs and see them found by './ao doctor'."
          '';
        };
      });

      checks = each (pkgs: {
        package = package pkgs;
        format = only pkgs "format" pkgs.rustfmt "cargo fmt --check";
        clippy = only pkgs "clippy" pkgs.clippy "cargo clippy --locked --offline --all-targets -- -D warnings";
      });
    };
}
